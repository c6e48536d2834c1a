import { createHash } from 'node:crypto'
import { definePlugin } from '@posthorn/core'
import { harness } from '@posthorn/testing'
import { expect, test } from 'vitest'
import * as z from 'zod'
import fingerprint from './fingerprint.ts'

const letter = 'From: bob@client.test\r\nSubject: Hello\r\n\r\nHow are you?\r\n'

/** Somebody must take responsibility for recipients. */
const everybody = definePlugin({
  name: 'everybody',
  schema: z.strictObject({}),
  setup: () => ({ rcpt: () => 'accept' }),
})

test('a refused sender learns it at MAIL FROM', async () => {
  await using h = await harness([fingerprint], { options: [{ refuse: ['Eve@spam.test'] }] })
  expect(await h.gate('mail', { from: 'eve@SPAM.test' })).toMatchObject({ code: 550, enhanced: '5.7.1' })
  expect(await h.gate('mail', { from: 'bob@client.test' })).toBeUndefined()
})

test('the fingerprint is that of the received bytes, however they were split', async () => {
  await using h = await harness([everybody, fingerprint])
  const halves = [letter.slice(0, 45), letter.slice(45)].map(part => Buffer.from(part))
  const { head, state } = await h.message(halves)
  const expected = createHash('sha256').update(letter).digest('hex')
  expect(head).toContain(`X-Fingerprint: ${expected}`)
  expect(state).toEqual({ 'fingerprint/sha256': expected })
})
