import { type Endpoint, endpointName, hopKey, hostName, type NextHop, parseEndpoint } from '@posthorn/core/client'
import { expect, test } from 'vitest'

test.each<[string, Endpoint | undefined]>([
  ['mx.test', { host: 'mx.test', port: 25 }],
  ['mx.test:587', { host: 'mx.test', port: 587 }],
  ['192.0.2.1:24', { host: '192.0.2.1', port: 24 }],
  ['[2001:db8::1]:587', { host: '2001:db8::1', port: 587 }],
  ['[2001:db8::1]', { host: '2001:db8::1', port: 25 }],
  ['2001:db8::1', { host: '2001:db8::1', port: 25 }],
  ['unix:/run/lmtp', { path: '/run/lmtp' }],
  ['unix:run/lmtp', undefined],
  ['', undefined],
  ['mx.test:', undefined],
  ['mx.test:0', undefined],
  ['mx.test:65536', undefined],
  ['mx.test:25x', undefined],
  ['mx test', undefined],
  ['mx.test\r\n', undefined],
  ['[mx.test]:25', undefined],
])('%j', (text, endpoint) => {
  expect(parseEndpoint(text, 25)).toEqual(endpoint)
  if (endpoint !== undefined) expect(parseEndpoint(endpointName(endpoint), 25)).toEqual(endpoint)
})

test('a host that was looked up goes by its name', () => {
  const endpoint = { host: '192.0.2.1', port: 25, name: 'mx.test' }
  expect([endpointName(endpoint), hostName(endpoint), hostName({ path: '/x' })]).toEqual([
    'mx.test:25',
    'mx.test',
    'localhost',
  ])
})

test('keys are equal for equal hops, whatever the order, and different for any difference; secrets stay out', () => {
  const hop: NextHop = {
    endpoint: { host: 'mx.test', port: 25 },
    protocol: 'smtp',
    helo: 'a.test',
    tls: { mode: 'verify', ca: 'x' },
    auth: { user: 'u', password: 'open sesame' },
  }
  expect(hopKey({ ...hop, tls: { ca: 'x', mode: 'verify' } })).toBe(hopKey(hop))
  const others: NextHop[] = [
    { ...hop, endpoint: { host: 'mx.test', port: 26 } },
    { ...hop, endpoint: { host: '192.0.2.1', port: 25, name: 'mx.test' } },
    { ...hop, protocol: 'lmtp' },
    { ...hop, helo: 'b.test' },
    { ...hop, source: '192.0.2.9' },
    { ...hop, tls: { ...hop.tls, pins: ['00'] } },
    { ...hop, tls: { ...hop.tls, servername: 'x' } },
    { ...hop, auth: { user: 'u', password: 'other' } },
    { ...hop, xclient: { ADDR: '192.0.2.1' } },
    { ...hop, chunking: false },
  ]
  const keys = [hop, ...others].map(hopKey)
  expect(new Set(keys).size).toBe(keys.length)
  expect(keys.join()).not.toContain('sesame')
})
