import { expect, test } from 'vitest'
import type { UnlessConfig } from '../../src/config/contract.ts'
import type { Facts } from '../../src/hooks/contract.ts'
import { compileUnless } from '../../src/hooks/unless.ts'
import { origin } from './stage.ts'

const facts = (more: Partial<Facts> = {}): Facts => ({ origin, state: () => undefined, ...more })
const from = (ip: string) => facts({ origin: { ...origin, client: { ...(origin.client as object), ip } as never } })
const lets = (unless: UnlessConfig, about: Facts) => compileUnless(unless, 'plugins[0]')?.(about)

test.each([
  ['198.51.100.0/24', '198.51.100.7', true],
  ['198.51.100.0/24', '198.51.101.7', false],
  ['198.51.100.7', '198.51.100.7', true],
  ['198.51.100.0/24', '::ffff:198.51.100.7', true],
  ['2001:db8::/32', '2001:db8:1::1', true],
  ['2001:db8::/32', '2001:db9::1', false],
  ['0.0.0.0/0', '203.0.113.9', true],
  ['198.51.100.0/24', 'unix', false],
])('net %s, client %s: %s', (net, ip, expected) => {
  expect(lets({ net: [net] }, from(ip))).toBe(expected)
})

test.each([
  ['example.org', 'anna@example.org', true],
  ['@example.org', 'anna@EXAMPLE.org', true],
  ['example.org', 'anna@mail.example.org', false],
  ['example.org', 'anna@badexample.org', false],
  ['anna@example.org', 'anna@Example.ORG', true],
  ['anna@example.org', 'Anna@example.org', false],
  ['anna@example.org', 'bob@example.org', false],
  ['"a@b"@example.org', '"a@b"@example.org', true],
  ['<>', '', true],
  ['example.org', '', false],
])('sender %s, from %s: %s', (sender, address, expected) => {
  expect(lets({ sender: [sender] }, facts({ sender: address }))).toBe(expected)
  expect(lets({ recipient: [sender] }, facts({ recipient: address }))).toBe(expected)
})

test('before MAIL there is no sender, not even the null one', () => {
  expect(lets({ sender: ['<>'] }, facts())).toBe(false)
})

test('users and listeners are compared exactly', () => {
  const auth = { user: 'anna', mechanism: 'PLAIN', scopes: [] }
  expect(lets({ user: ['anna'] }, facts({ origin: { ...origin, auth } }))).toBe(true)
  expect(lets({ user: ['Anna'] }, facts({ origin: { ...origin, auth } }))).toBe(false)
  expect(lets({ user: ['anna'] }, facts())).toBe(false)
  expect(lets({ listener: ['mx'] }, facts())).toBe(true)
  expect(lets({ listener: ['partners'] }, facts())).toBe(false)
})

test.each([
  [true, true],
  ['yes', true],
  [0, true],
  [false, false],
  [null, false],
  [undefined, false],
])('state %s: %s', (value, expected) => {
  expect(lets({ state: ['access/allowed'] }, facts({ state: name => (name === 'access/allowed' ? value : 1) }))).toBe(
    expected,
  )
})

test('any one condition is enough, none lets nobody past', () => {
  expect(lets({ net: ['192.0.2.0/24'], listener: ['mx'] }, facts())).toBe(true)
  expect(compileUnless({}, '')).toBeUndefined()
  expect(lets({ net: [] }, facts())).toBe(false)
})

test.each(['10.0.0.0/33', '2001:db8::/129', '10.0.0', 'example.org', '10.0.0.0/', '10.0.0.0/8/8', ''])(
  'the network %j is refused, with its place',
  net => {
    expect(() => compileUnless({ net: ['10.0.0.0/8', net] }, 'plugins[3]')).toThrow(
      expect.objectContaining({ code: 'POSTHORN_UNLESS_INVALID', at: 'plugins[3].unless.net[1]' }),
    )
  },
)

test.each(['', 'a@', 'a b@c', '<a@b>'])('the address %j is refused', sender => {
  expect(() => compileUnless({ sender: [sender] }, 'plugins[3]')).toThrow('is not an address or a domain')
})
