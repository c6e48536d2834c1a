// RFC 8617 §5.1: which set comes next, and what its seal covers, for every kind of chain that may have come.
import { describe, expect, it } from 'vitest'
import { arcSet, type Sealing } from '../src/arc-set.ts'

const set = (i: number | string, cv: string) => [
  `ARC-Seal: i=${i}; cv=${cv}; b=AA==`,
  `ARC-Message-Signature: i=${i}; b=AA==`,
  `ARC-Authentication-Results: i=${i}; x.test; none`,
]
const one = set(1, 'none')
const two = [...set(2, 'pass'), ...one]
const no = (name: string, lines: readonly string[]) => lines.filter(line => !line.startsWith(name))

/** What was signed, in order: the message signature, the seal. */
async function next(lines: readonly string[], chain: Sealing['chain']) {
  const signed: string[] = []
  const fields = await arcSet({
    header: Buffer.from([...lines, 'From: a@b.test', 'Subject: hello', '', ''].join('\r\n')),
    bodyHash: 'hash',
    authResults: 'mx.test; spf=pass smtp.mailfrom=b.test',
    chain,
    headers: ['from', 'subject'],
    key: {
      domain: 'b.test',
      selector: 's',
      algorithm: 'rsa-sha256',
      async sign(octets) {
        signed.push(Buffer.from(octets).toString())
        return Buffer.from([0])
      },
    },
    time: 1,
    utf8: false,
  })
  const [seal = ['', '']] = fields
  const said = /i=(\d+);[\s\S]*cv=(\w+);/.exec(seal[1])
  const names = signed[1]?.split('\r\n').map(line => /^([^;]+);?/.exec(line)?.[1])
  return { fields, said: said === null ? 'nothing' : `i=${said[1]} cv=${said[2]}`, covers: names }
}

describe('the next set', () => {
  it.each([
    ['no chain', [], 'none', 'i=1 cv=none'],
    ['no chain, of which nobody could say so', [], 'fail', 'i=1 cv=none'],
    ['one set that holds', one, 'pass', 'i=2 cv=pass'],
    ['two sets that hold', two, 'pass', 'i=3 cv=pass'],
    ['two sets in another order', two.toReversed(), 'pass', 'i=3 cv=pass'],
    [
      'a comment before the instance of the results',
      one.map(line => line.replace('Results: ', 'Results: (a) ')),
      'pass',
      'i=2 cv=pass',
    ],
    [
      '49 sets',
      Array.from({ length: 49 }, (_, n) => set(n + 1, n === 0 ? 'none' : 'pass')).flat(),
      'pass',
      'i=50 cv=pass',
    ],
    ['a set that does not hold', one, 'fail', 'i=2 cv=fail'],
    ['two sets that do not hold', two, 'fail', 'i=3 cv=fail'],
    ['a gap', [...set(3, 'pass'), ...one], 'fail', 'i=4 cv=fail'],
    ['half a set', no('ARC-Message-Signature', one), 'fail', 'i=2 cv=fail'],
    ['results only', no('ARC-Message-Signature', no('ARC-Seal', one)), 'fail', 'i=2 cv=fail'],
    ['a field twice', [one[0] as string, ...one], 'fail', 'i=2 cv=fail'],
    ['no instance', set('x', 'none'), 'fail', 'i=1 cv=fail'],
    ['instance 0 beside a set', [...set(0, 'pass'), ...one], 'fail', 'i=2 cv=fail'],
    ['a chain that is said to hold, and is none', no('ARC-Seal', two), 'pass', 'i=3 cv=fail'],
    ['a set below that said fail', [...set(2, 'pass'), ...set(1, 'fail')], 'fail', 'i=3 cv=fail'],
    ['a newest set that said fail', [...set(2, 'fail'), ...one], 'fail', 'nothing'],
    ['the same in capitals', [...set(2, 'FAIL'), ...one], 'fail', 'nothing'],
    ['the same below an older one', [...one, ...set(2, 'fail')], 'fail', 'nothing'],
    ['50 sets', Array.from({ length: 50 }, (_, n) => set(n + 1, n === 0 ? 'none' : 'pass')).flat(), 'pass', 'nothing'],
  ] as const)('%s', async (_what, lines, chain, expected) => {
    expect((await next(lines, chain)).said).toBe(expected)
  })
})

describe('the seal', () => {
  const results = (i: number) => `arc-authentication-results:i=${i}`
  const signature = (i: number) => `arc-message-signature:i=${i}`
  const seal = (i: number) => `arc-seal:i=${i}`

  it('covers all sets in order, its own without the signature', async () => {
    const { covers } = await next(two, 'pass')
    expect(covers).toEqual([1, 2, 3].flatMap(i => [results(i), signature(i), seal(i)]))
  })

  it('covers its own set alone where the chain failed (§5.1.2)', async () => {
    for (const lines of [two, no('ARC-Seal', two)]) {
      expect((await next(lines, 'fail')).covers).toEqual([results(3), signature(3), seal(3)])
    }
  })

  it('is on top, and has no h=', async () => {
    const { fields } = await next(one, 'pass')
    expect(fields.map(([name]) => name)).toEqual(['ARC-Seal', 'ARC-Message-Signature', 'ARC-Authentication-Results'])
    expect(fields[0]?.[1]).not.toMatch(/h=/)
    expect(fields[1]?.[1]).toMatch(/h=from:from:subject;/)
  })
})
