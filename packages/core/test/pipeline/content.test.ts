import { definePlugin, type Queued } from '@posthorn/core'
import { harness } from '@posthorn/testing'
import { expect, it } from 'vitest'
import * as z from 'zod'

const ascii = 'From: a@client.test\r\nSubject: hello\r\nX-Name: plain\r\n\r\nbody\r\n'

/** What an agent is told of the message's content, beside plugins that edit it. */
async function told(eml: string, given: { role?: 'internal'; strip?: true; large?: true } = {}) {
  let seen: Queued | undefined
  const agent = definePlugin({
    name: 'agent',
    schema: z.strictObject({}),
    setup: () => ({
      rcpt: () => 'accept',
      data: tx => {
        if (given.strip) tx.replace('X-Name', 0, null)
      },
      deliver: {
        route: (_, message) => {
          seen = message
          return { lane: 'here', data: null }
        },
        limits: () => ({}),
        send: async () => {},
      },
    }),
  })
  await using plugins = await harness([agent])
  const body = given.large ? `${eml}${'x'.repeat(998)}\r\n`.padEnd(400_000, 'more\r\n') : eml
  await plugins.deliver(body, given.role === undefined ? {} : { role: given.role })
  return seen?.content
}

it('says what the front has seen: whether there are octets above 127', async () => {
  expect(await told(ascii)).toBe('7bit')
  expect(await told(ascii.replace('body', 'böse'))).toBe('8bit')
  expect(await told(ascii, { large: true })).toBe('7bit')
  expect(await told(ascii.replace('body', 'böse'), { large: true })).toBe('8bit')
})

it('says nothing where nobody looked, or where what was seen may have been removed', async () => {
  expect(await told(ascii, { role: 'internal' })).toBeUndefined()
  expect(await told(ascii.replace('plain', 'Änna'), { strip: true })).toBeUndefined()
  expect(await told(ascii, { strip: true })).toBe('7bit')
})
