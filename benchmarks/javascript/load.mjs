// Publishes or signs, with autocannon: node load.mjs URL SECONDS KIND [SECRET]. Each request is made anew, as by a program that has something
// to say. Prints one JSON object with what happened, in the words of benchmarks/load.py.
import { createHmac } from 'node:crypto'
import autocannon from 'autocannon'

const [url, seconds, kind, secret] = process.argv.slice(2)
const json = { 'content-type': 'application/json' }
// Numbers of one length, so that all bodies have one: from a moment on, as ids must not come again.
let number = Date.now() * 1000

/** A payload whose JSON has so many bytes. */
function sized (bytes, make) {
  const text = 'x'.repeat(bytes - JSON.stringify(make('')).length)
  return () => make(text)
}

const payload = sized(500, text => ({ type: 'order.paid', data: { number: number++, text } }))
const event = sized(1024, text => ({ id: `evt_${number++}`, object: 'event', type: 'charge.succeeded', data: { object: { text } } }))

const kinds = {
  // A message of 500 bytes to publish, with a token.
  message: () => ({ headers: { ...json, authorization: `Bearer ${secret}` }, body: JSON.stringify({ eventType: 'order.paid', payload: payload() }) }),
  // The payload alone, as a delivery looks.
  payload: () => ({ headers: json, body: JSON.stringify(payload()) }),
  // An event of 1 kB, signed as Stripe signs.
  stripe: () => {
    const body = JSON.stringify(event())
    const at = Math.floor(Date.now() / 1000)
    const signature = createHmac('sha256', secret).update(`${at}.${body}`).digest('hex')
    return { headers: { ...json, 'stripe-signature': `t=${at},v1=${signature}` }, body }
  }
}

const firstNs = process.hrtime.bigint()
const made = kinds[kind]
const found = await autocannon({
  url,
  connections: 64,
  duration: Number(seconds),
  requests: [{ method: 'POST', setupRequest: request => ({ ...request, ...made() }) }]
})
const statuses = Object.fromEntries(Object.entries(found.statusCodeStats).map(([status, { count }]) => [status, count]))
console.log(JSON.stringify({
  accepted: found['2xx'],
  statuses,
  lost: found.errors + found.timeouts,
  first_ns: Number(firstNs),
  rate: found.requests.total / found.duration
}))
