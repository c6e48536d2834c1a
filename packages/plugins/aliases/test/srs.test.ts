import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Srs } from '../src/srs.ts'

const now = Date.UTC(2026, 10, 23)
const of = (domain: string, secret: string, hashLength = 4) =>
  new Srs({ domain, secrets: [secret], hashLength, maxAge: 21 * 86_400_000 })
const box = (local: string, domain: string) => ({ local, domain, raw: `${local}@${domain}` })

test('through two forwarders and back, the bounce takes the shortest way', () => {
  const first = of('one.test', 'first')
  const second = of('two.test', 'second')
  const third = of('three.test', 'third')
  const sender = box('anna=x', 'client.test')
  const one = first.forward(sender, now)
  if (one === undefined) throw new Error('too long')
  const two = second.forward(one, now)
  if (two === undefined) throw new Error('too long')
  const three = third.forward(two, now)
  if (three === undefined) throw new Error('too long')
  expect(two.local).toMatch(/^SRS1=.{4}=one\.test==.{4}=/)
  // The one in the middle is left out.
  expect(three.local).toMatch(/^SRS1=.{4}=one\.test==.{4}=/)
  expect(third.reverse(three, now)).toMatchObject({ to: { local: one.local, domain: 'one.test' } })
  expect(first.reverse(one, now)).toMatchObject({ to: { local: 'anna=x', domain: 'client.test' } })
  expect(second.reverse(three, now)).toEqual({ wrong: 'the hash is not ours' })
})

test('any sender comes back, and any other secret, or a changed one, is refused', () => {
  const local = fc.stringMatching(/^[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}$/)
  fc.assert(
    fc.property(local, fc.nat(40 * 365), (name, days) => {
      const at = days * 86_400_000
      const srs = of('ours.test', 'secret', 8)
      const there = srs.forward(box(name, 'client.test'), at)
      if (there === undefined) return
      expect(srs.reverse(there, at)).toMatchObject({ to: { local: name, domain: 'client.test' } })
      expect(srs.reverse(there, at + 20 * 86_400_000)).toHaveProperty('to')
      expect(srs.reverse(there, at + 23 * 86_400_000)).toHaveProperty('wrong')
      expect(of('ours.test', 'other', 8).reverse(there, at)).toHaveProperty('wrong')
    }),
  )
})

test('no input faults it', () => {
  const srs = of('ours.test', 'secret')
  fc.assert(
    fc.property(fc.stringMatching(/^SRS[01][=+-][SRS01=+a-z@."\\ -]{0,40}$/), local => {
      expect(srs.reverse({ local }, now)).toHaveProperty('wrong')
    }),
  )
})

test('several secrets: the first signs, all are believed; a sender too long is left', () => {
  const old = of('ours.test', 'old').forward(box('anna', 'client.test'), now)
  const both = new Srs({ domain: 'ours.test', secrets: ['new', 'old'], hashLength: 4, maxAge: 21 * 86_400_000 })
  expect(both.reverse(old as { local: string }, now)).toHaveProperty('to')
  expect(
    of('ours.test', 'new').reverse(both.forward(box('a', 'b.test'), now) as { local: string }, now),
  ).toHaveProperty('to')
  expect(both.forward(box('a'.repeat(50), 'client.test'), now)).toBeUndefined()
})
