// OpenDKIM's filter in its test mode: it signs or verifies files as it would mail, all at once, with keys from a file.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { program } from './needs.ts'
import { succeed } from './program.ts'
import type { SigningKey } from './rspamd.ts'

export interface OpenDkim {
  /** For each message, the results of all its signatures by selector: `{ one: 'pass' }`. */
  verify(messages: readonly Uint8Array[]): Promise<readonly Readonly<Record<string, string>>[]>
  /** For each message, the DKIM-Signature field to put on top, its line end included. */
  sign(messages: readonly Uint8Array[], key: SigningKey, algorithm: string, c: string): Promise<readonly string[]>
}

/** `keys`: TXT records by name. Its files are in a folder of its own below `parent`. */
export function openDkim(parent: string, keys: ReadonlyMap<string, string>): OpenDkim {
  const folder = join(parent, 'opendkim')
  mkdirSync(folder)
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const dns = file('dns', [...keys].map(([name, value]) => `${name} ${value}\n`).join(''))

  const tested = async (settings: readonly string[], messages: readonly Uint8Array[]) => {
    const config = file('opendkim.conf', ['Syslog no', ...settings, ''].join('\n'))
    const files = messages.map((message, n) => file(`${n}.eml`, message))
    return (await succeed(program('opendkim') as string, ['-x', config, '-t', files.join(), '-vv'])).out
  }
  return {
    async verify(messages) {
      const said = (await tested(['Mode v', `TestDNSData file:${dns}`], messages)).split(/^opendkim: \S+\.eml: .*$/m)
      if (said.length !== messages.length + 1) throw new Error(`not of each message: ${said.join('\n')}`)
      return messages.map((_, n) =>
        Object.fromEntries(
          Array.from((said[n] as string).matchAll(/dkim=(\w+) .*header\.s=(\S+)/g), ([, result, selector]) => [
            selector as string,
            result as string,
          ]),
        ),
      )
    },
    async sign(messages, { domain, selector, file }, algorithm, c) {
      const said = await tested(
        [
          'Mode s',
          // It distrusts keys below /tmp.
          'RequireSafeKeys no',
          `Domain ${domain}`,
          `Selector ${selector}`,
          `KeyFile ${file}`,
          `SignatureAlgorithm ${algorithm}`,
          `Canonicalization ${c}`,
        ],
        messages,
      )
      const values = Array.from(
        said.matchAll(/hname='DKIM-Signature' hvalue='([^']*)'/g),
        ([, value]) => value as string,
      )
      if (values.length !== messages.length) throw new Error(`not each message was signed: ${said}`)
      return values.map(value => `DKIM-Signature: ${value.replace(/\r*\n/g, '\r\n')}\r\n`)
    },
  }
}
