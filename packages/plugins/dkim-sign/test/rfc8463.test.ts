// RFC 8463 appendix A: with its secret key we make its signature, octet by octet, and its record. Ed25519 signs the same
// octets the same way each time.
import { createPrivateKey } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RelaxedBodyHash, relaxedFields, relaxedOwn, scanHeader, unfold } from '@posthorn/mail'
import { expect, it, onTestFinished } from 'vitest'
import { dkimRecord } from '../src/key-ring.ts'
import { loadKeys } from '../src/signing-keys.ts'

const secret = 'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='
const published = 'v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo='
const domain = 'football.example.com'

/** PKCS #8 of Ed25519: what comes before the 32 octets. */
const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const privateKey = createPrivateKey({
  key: Buffer.concat([pkcs8, Buffer.from(secret, 'base64')]),
  format: 'der',
  type: 'pkcs8',
}).export({ type: 'pkcs8', format: 'pem' }) as string

it('publishes the record of the example', () => {
  expect(dkimRecord(domain, { selector: 'brisbane', privateKey })).toEqual({
    name: 'brisbane._domainkey.football.example.com',
    value: published,
  })
})

it('makes the signature of the example', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'posthorn-dkim-'))
  onTestFinished(() => rm(empty, { recursive: true }))
  const [key] = (await loadKeys(empty, [{ domain, selector: 'brisbane', key: privateKey }])).of(domain)
  const file = await readFile(new URL('../../mailauth/test/fixtures/rfc8463-a3.eml', import.meta.url), 'utf8')
  const message = Buffer.from(file.replace(/\r?\n/g, '\r\n'))
  const header = scanHeader(message)
  const [signature] = header.fields
  const value = signature === undefined ? '' : unfold(message, signature)
  const tag = (name: string) => new RegExp(`[;\\s]${name}=([^;]*)`).exec(value)?.[1]?.replaceAll(' ', '')

  const body = new RelaxedBodyHash()
  body.update(message.subarray(header.body))
  expect(body.digest()).toBe(tag('bh'))

  const fields = ['from', 'to', 'subject', 'date', 'message-id'].map(name => ({
    name,
    field: header.fields.find(field => field.name === name),
  }))
  const own = relaxedOwn('DKIM-Signature', value.replace(/(\sb=).*/, '$1'))
  const octets = Buffer.concat([relaxedFields(message, fields), own])
  expect(Buffer.from((await key?.sign(octets)) ?? []).toString('base64')).toBe(tag('b'))
})
