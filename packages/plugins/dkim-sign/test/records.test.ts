import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { addKeys } from '../src/key-ring.ts'
import { keyRecords } from '../src/records.ts'

test('the records of a domain: keys that sign, retired ones as advice, those of the configuration, none of others', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-dkim-records-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const records = keyRecords(folder, [
    { domain: 'Example.test', selector: 'fixed', key: pem },
    { domain: 'other.test', selector: 'other', key: pem },
  ])
  const ed25519 = { algorithms: ['ed25519'] as const }
  await addKeys(folder, 'example.test', { ...ed25519, selector: 'one', now: Date.UTC(2026, 0, 5) })
  await addKeys(folder, 'example.test', { ...ed25519, selector: 'two', now: Date.UTC(2026, 0, 6), rotate: true })
  const said = await records('example.test')
  expect(said.map(({ name, type, advice }) => [name, type, advice])).toEqual([
    ['one._domainkey.example.test', 'TXT', true],
    ['two._domainkey.example.test', 'TXT', undefined],
    ['fixed._domainkey.example.test', 'TXT', undefined],
  ])
  expect(said[0]?.why).toContain('until 2026-01-20')
  expect(said.every(({ value }) => /^v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=$/.test(value))).toBe(true)
  expect(await records('nobody.test')).toEqual([])
})
