// What the operator may not ask for: signatures that no verifier takes.
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Place } from '@posthorn/core'
import dkimSign from '@posthorn/plugin-dkim-sign'
import { harness } from '@posthorn/testing'
import { afterAll, expect, it } from 'vitest'
import { loadKeys } from '../src/signing-keys.ts'

const data = mkdtempSync(join(tmpdir(), 'posthorn-dkim-options-'))
afterAll(() => rm(data, { recursive: true }))

const pem = (key: { export(options: object): string | Buffer }) =>
  key.export({ type: 'pkcs8', format: 'pem' }) as string
const rsa = (modulusLength: number) => pem(generateKeyPairSync('rsa', { modulusLength }).privateKey)
const ed25519 = pem(generateKeyPairSync('ed25519').privateKey)

it.each([
  ['From is not signed', { headers: ['to', 'subject'] }, /From has to be signed/],
  ['no field is signed', { headers: [] }, /From has to be signed/],
  ['a signature is over before it arrives', { expire: '10s' }, /at least 1m/],
])('refuses options where %s', async (_what, options, message) => {
  const start = harness([dkimSign], { options: [options as never], services: [[Place, { data }]] })
  await expect(start).rejects.toThrow(message)
})

it.each([
  ['an RSA key of 512 bits (RFC 8301)', { domain: 'b.test', selector: 's', key: rsa(512) }],
  [
    'a key of another kind',
    { domain: 'b.test', selector: 's', key: pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey) },
  ],
  ['what is no key', { domain: 'b.test', selector: 's', key: 'secret' }],
  ['what is no domain', { domain: 'b test', selector: 's', key: ed25519 }],
  ['a selector that is more than that', { domain: 'b.test', selector: 's; d=bank.test', key: ed25519 }],
  ['an empty selector', { domain: 'b.test', selector: '', key: ed25519 }],
])('refuses %s', async (_what, key) => {
  await expect(loadKeys(data, [key])).rejects.toMatchObject({ code: 'POSTHORN_DKIM_KEY' })
})

it.each(['s', 's1.mail', 'k2_2026', '_a-b'])('takes the selector %s', async selector => {
  const keys = await loadKeys(data, [{ domain: 'b.test', selector, key: ed25519 }])
  expect(keys.of('b.test').map(key => key.selector)).toEqual([selector])
})
