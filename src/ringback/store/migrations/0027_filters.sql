-- What an endpoint asks of payloads and of received headers (policy.filters), as JSON; NULL = nothing.
ALTER TABLE endpoint ADD COLUMN payload_filter TEXT;
ALTER TABLE polling_endpoint ADD COLUMN payload_filter TEXT;
