import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Line, type Linked } from '../src/line.ts'

interface Member extends Linked<Member> {
  readonly n: number
}

const member = (n: number): Member => ({ n, line: undefined, prev: undefined, next: undefined })
const numbers = (line: Line<Member>) => [...line].map(({ n }) => n)

test('members stand in the order they came in, and leave from anywhere', async () => {
  await fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 60 }), steps => {
      const line = new Line<Member>()
      const members = Array.from({ length: 10 }, (_, n) => member(n))
      let model: number[] = []
      for (const n of steps) {
        const one = members[n] as Member
        if (model.includes(n)) {
          expect(line.leave(one)).toBe(true)
          model = model.filter(each => each !== n)
        } else {
          expect(line.leave(one)).toBe(false)
          line.join(one)
          model.push(n)
        }
        expect(numbers(line)).toEqual(model)
        expect([line.first?.n, line.size]).toEqual([model[0], model.length])
      }
    }),
  )
})

test('who has left points at nobody', () => {
  const line = new Line<Member>()
  const members = [member(0), member(1), member(2)] as const
  for (const one of members) line.join(one)
  line.leave(members[1])
  expect(members[1]).toEqual(member(1))
  expect(numbers(line)).toEqual([0, 2])
})

test('who leaves while the others are told is not told', () => {
  const line = new Line<Member>()
  const members = [member(0), member(1), member(2)] as const
  for (const one of members) line.join(one)
  const told: number[] = []
  for (const { n } of line) {
    told.push(n)
    line.leave(members[1])
  }
  expect(told).toEqual([0, 2])
})
