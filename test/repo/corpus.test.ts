import { expect, test } from 'vitest'
import { carriable, corpus } from '../corpus.ts'

test('the corpus is whole: every message of its four sources', () => {
  const count: Record<string, number> = {}
  for (const { name, bytes } of corpus()) {
    const source = name.split('/')[0] as string
    count[source] = (count[source] ?? 0) + 1
    expect(bytes.length, name).toBeGreaterThan(0)
  }
  expect(count).toEqual({ james: 47, mailparser: 10, mime4j: 80, python: 47 })
})

test('what SMTP can carry has CRLF line ends only, and ends in one', () => {
  const left = corpus().filter(({ bytes }) => carriable(bytes) === undefined)
  for (const { name, bytes } of corpus()) {
    const mail = carriable(bytes)
    if (mail === undefined) continue
    expect(/\r(?!\n)|(?<!\r)\n/.test(mail.toString('latin1')), name).toBe(false)
    expect(mail.subarray(-2).toString(), name).toBe('\r\n')
  }
  expect(left.map(({ name }) => name)).toEqual([])
})

test('line ends of every kind become CRLF; a NUL is for BINARYMIME only', () => {
  expect(carriable(Buffer.from('a\nb\rc\r\nd'))?.toString()).toBe('a\r\nb\r\nc\r\nd\r\n')
  expect(carriable(Buffer.from('a\0b'))).toBeUndefined()
})
