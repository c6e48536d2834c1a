import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { localState, messageState, newStateStore, StateBuffer, stateSize, stateView } from '../../src/state.ts'

const score = messageState<{ readonly total: number; readonly why: readonly string[] }>('spam/score')
const note = messageState<any>('spam/note')
const hidden = messageState<string>('other/hidden')

const user = { plugin: 'spam', stage: 'data', reads: new Set(['spam/score']), writes: new Set(['spam/note']) }
const view = (store = newStateStore(), buffer = new StateBuffer(), as = user) => ({
  store,
  buffer,
  state: stateView(store, as, buffer),
})

test('a write is seen by its own call at once, by others when it is kept', () => {
  const { state, store, buffer } = view()
  const other = view(store)
  state.set(note, 'seen')
  expect(state.get(note)).toBe('seen')
  expect(other.state.get(note)).toBeUndefined()
  buffer.keep()
  expect(other.state.get(note)).toBe('seen')
})

test('a written null hides what was there', () => {
  const { state, store } = view()
  store.set('spam/note', 'old')
  state.set(note, null)
  expect(state.get(note)).toBeNull()
})

test('a buffer that is not kept leaves nothing', () => {
  const { state, store } = view()
  state.set(note, 1)
  expect(store.size).toBe(0)
})

test('access that the hook did not declare throws, and says what to declare', () => {
  const { state } = view()
  expect(() => state.get(hidden)).toThrow('hook data of spam reads "other/hidden" without saying so')
  expect(() => state.set(score, { total: 1, why: [] })).toThrow('writes "spam/score" without saying so')
  expect(() => state.set(hidden, 'x')).toThrow(expect.objectContaining({ fix: expect.stringContaining('`writes`') }))
})

test.each([
  ['undefined', undefined],
  ['a function', () => 1],
  ['a bigint', 1n],
  ['a symbol', Symbol('x')],
  ['NaN', Number.NaN],
  ['an instance of Map', new Map()],
  ['an instance of Date', new Date(0)],
  ['an instance of Buffer', Buffer.from('x')],
])('%s is not stored', (what, value) => {
  const { state } = view()
  expect(() => state.set(note, value)).toThrow(`state "spam/note" is ${what}, which is not JSON`)
  expect(() => state.set(note, { a: [0, value] })).toThrow(`state "spam/note.a[1]" is ${what}`)
})

test('a cycle is refused quickly, however it branches', () => {
  const { state } = view()
  const round: Record<string, unknown> = {}
  round.left = round
  expect(() => state.set(note, round)).toThrow('a cycle, or nested too deep')
  round.right = [round, round]
  round.left = { round }
  expect(() => state.set(note, round)).toThrow()
})

test('one value is at most 16 KiB', () => {
  const { state } = view()
  expect(() => state.set(note, 'x'.repeat(16_383))).toThrow('more than 16384 octets')
  expect(() => state.set(note, 'ä'.repeat(8_200))).toThrow('more than 16384 octets')
  state.set(note, 'x'.repeat(16_382))
})

test('what was stored is what JSON brings back, and nobody can change it', () => {
  void fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), value => {
      const { state, store, buffer } = view()
      state.set(note, value)
      buffer.keep()
      const stored = store.get('spam/note')
      expect(JSON.stringify(stored)).toBe(JSON.stringify(value))
      expect(Object.isFrozen(stored)).toBe(true)
    }),
  )
})

test('what the writer does to its object later changes nothing', () => {
  const { state } = view()
  const why = ['first']
  state.set(note, { why })
  why.push('late')
  expect(state.get(note)).toEqual({ why: ['first'] })
})

test('a key named __proto__ is a key', () => {
  const { state } = view()
  state.set(note, JSON.parse('{"__proto__":{"admin":true}}'))
  expect(JSON.stringify(state.get(note))).toBe('{"__proto__":{"admin":true}}')
  expect((state.get(note) as { admin?: boolean }).admin).toBeUndefined()
})

test('local state holds anything, undeclared, and belongs to the instance', () => {
  const socket = localState<Map<string, number>>('milter/socket')
  const one = view()
  const value = new Map([['a', 1]])
  one.state.set(socket, value)
  one.buffer.keep()
  expect(one.state.get(socket)).toBe(value)
  expect(view(one.store, new StateBuffer(), { ...user, plugin: 'milter-2' }).state.get(socket)).toBeUndefined()
})

test('a view of a call that is over throws', () => {
  const over = () => {
    throw new Error('the call is over')
  }
  const state = stateView(newStateStore(), user, new StateBuffer(), { live: over })
  expect(() => state.get(score)).toThrow('over')
  expect(() => state.set(note, 1)).toThrow('over')
})

test('the size of a message counts all its stores', () => {
  const stores = [newStateStore(), newStateStore(), newStateStore()] as const
  stores[0].set('a/b', 'ä')
  stores[2].set('c/d', [1])
  expect(stateSize(stores)).toBe('{"a/b":"ä"}'.length + 1 + '{"c/d":[1]}'.length)
})
