// Certificates in files of a folder that is gone with the test.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestCertificate } from '@posthorn/testing'
import type { CertificateConfig } from '../../src/config/contract.ts'

type Files<K extends string> = Readonly<Record<K, CertificateConfig>> &
  AsyncDisposable & { readonly folder: string; write(name: string, certificate: TestCertificate): Promise<void> }

export async function inFiles<K extends string>(certificates: Readonly<Record<K, TestCertificate>>): Promise<Files<K>> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-tls-'))
  const paths = (name: string) => ({ cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) })
  const write = async (name: string, { cert, key }: TestCertificate) => {
    await writeFile(paths(name).cert, cert)
    await writeFile(paths(name).key, key)
  }
  const names = Object.keys(certificates) as K[]
  for (const name of names) await write(name, certificates[name])
  return {
    ...(Object.fromEntries(names.map(name => [name, paths(name)])) as Record<K, CertificateConfig>),
    folder,
    write,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}
