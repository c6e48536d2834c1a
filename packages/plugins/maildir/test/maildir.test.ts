import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { definePlugin, Place } from '@posthorn/core'
import domains from '@posthorn/plugin-domains'
import maildir from '@posthorn/plugin-maildir'
import { harness } from '@posthorn/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import * as z from 'zod'

let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'posthorn-maildir-'))
})
afterEach(() => rm(data, { recursive: true }))

const start = (options: object = {}) =>
  harness([domains, maildir], {
    options: [{ domains: ['example.test'] }, options],
    services: [[Place, { data }]],
  })
const eml = 'From: a@client.test\r\n\r\n.leading dot\r\n8-bit \xff, no end of line'

async function only(folder: string): Promise<Buffer> {
  const names = await readdir(join(folder, 'new'))
  expect(names).toHaveLength(1)
  return readFile(join(folder, 'new', names[0] as string))
}

describe('maildir', () => {
  it('writes a message byte for byte below our trace fields, and leaves nothing in tmp', async () => {
    await using h = await start()
    const outcomes = await h.deliver(Buffer.from(eml, 'latin1'), { from: 'a@client.test' })
    expect(outcomes.get('anna@example.test')).toEqual({ kind: 'delivered', by: 'maildir' })
    const folder = join(data, 'mail/example.test/anna')
    const text = (await only(folder)).toString('latin1')
    expect(text).toMatch(/^Return-Path: <a@client\.test>\r\nDelivered-To: anna@example\.test\r\nReceived: /)
    expect(text.endsWith(eml)).toBe(true)
    expect(await readdir(join(folder, 'tmp'))).toEqual([])
  })

  it('puts junk into its folder', async () => {
    const junking = definePlugin({
      name: 'junking',
      schema: z.strictObject({}),
      setup: () => ({ mail: tx => tx.junk('spam') }),
    })
    await using h = await harness([domains, maildir, junking], {
      options: [{ domains: ['example.test'] }, {}, {}],
      services: [[Place, { data }]],
    })
    await h.deliver(eml)
    await only(join(data, 'mail/example.test/anna/.Junk'))
  })

  it('cannot be led out of its folder by a name', async () => {
    await using h = await start()
    for (const to of [
      '"../../../etc/x"@example.test',
      '".."@example.test',
      '"a/b"@example.test',
      '".hidden"@example.test',
    ]) {
      if ((await h.gate('rcpt', { to: [to] })) === undefined) await h.deliver(eml, { to: [to] })
    }
    const names = await readdir(join(data, 'mail/example.test'))
    expect(names.sort()).toEqual(['%2E.', '%2E.%2F..%2F..%2Fetc%2Fx', '%2Ehidden', 'a%2Fb'])
    expect(await readdir(join(data, 'mail'))).toEqual(['example.test'])
  })

  it('routes only what is ours', async () => {
    const anybody = definePlugin({
      name: 'anybody',
      schema: z.strictObject({}),
      setup: () => ({ rcpt: () => 'accept' }),
    })
    await using h = await harness([domains, maildir, anybody], {
      options: [{ domains: ['example.test'] }, {}, {}],
      services: [[Place, { data }]],
    })
    expect((await h.deliver(eml, { to: ['x@else.test'] })).get('x@else.test')).toBe('unrouted')
  })

  it('defers, and loses nothing, where the folder cannot be made', async () => {
    await writeFile(join(data, 'mail'), 'a file stands in the way')
    await using h = await start()
    const outcome = (await h.deliver(eml)).get('anna@example.test')
    expect(outcome).toMatchObject({ kind: 'defer', scope: 'recipient' })
    expect(JSON.stringify(outcome)).not.toContain(data)
  })
})
