-- Of a session that a signed token (JWT) opened: which key signed it, as a keyed digest. It ends when that key is no longer the server's.
ALTER TABLE dashboard_session ADD COLUMN signed_with BLOB;
