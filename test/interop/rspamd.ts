// A private rspamd: Debian's program with the modules that sign and verify, and no others; asked by HTTP.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort, stopChild } from '../../bench/contender.ts'
import { program } from './needs.ts'

export interface SigningKey {
  readonly domain: string
  readonly selector: string
  /** A PEM file, PKCS #8. */
  readonly file: string
}

export interface RspamdOptions {
  /** `127.0.0.1:5353`: who answers all its questions. */
  readonly dns: string
  /** Mail of authenticated users is signed. */
  readonly dkim?: SigningKey
  /** Mail of everybody else is sealed. */
  readonly arc?: SigningKey
}

export interface Scanned {
  /** By name: what it says of it. `R_DKIM_ALLOW: ['example.test:s=one']`. */
  readonly symbols: Readonly<Record<string, readonly string[]>>
  /** Fields that it wants added, the first on top. */
  readonly added: readonly (readonly [name: string, value: string])[]
}

export interface RunningRspamd extends AsyncDisposable {
  /** `headers`: of the request, which stand for the envelope: `User`, `From`, `Rcpt`. */
  scan(message: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<Scanned>
}

/** Starts it with its files in a folder of its own below `parent`. */
export async function startRspamd(parent: string, options: RspamdOptions): Promise<RunningRspamd> {
  const folder = join(parent, 'rspamd')
  mkdirSync(folder)
  const port = await freePort()
  // Its own list has 9,628 entries, which take it long to compile.
  writeFileSync(join(folder, 'suffixes'), 'test\n')
  writeFileSync(join(folder, 'rspamd.conf'), configuration(folder, port, options))
  const args = ['-f', '--insecure', '-c', join(folder, 'rspamd.conf')]
  const child = spawn(program('rspamd') as string, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', text => {
      said = `${said}${text}`.slice(-8_000)
    })
  }
  const url = `http://127.0.0.1:${port}`
  try {
    await answers(url, child, () => said)
  } catch (error) {
    await stopChild(child)
    throw error
  }
  return {
    async scan(message, headers = {}) {
      const body = new Uint8Array(message)
      // An address from elsewhere: what comes from this machine it does not check.
      const reply = await fetch(`${url}/checkv2`, { method: 'POST', body, headers: { IP: '192.0.2.1', ...headers } })
      return scanned((await reply.json()) as Reply)
    },
    [Symbol.asyncDispose]: () => stopChild(child),
  }
}

async function answers(url: string, child: ChildProcess, said: () => string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (child.exitCode !== null) break
    if (
      await fetch(`${url}/ping`).then(
        reply => reply.ok,
        () => false,
      )
    )
      return
    await wait(50)
  }
  throw new Error(`rspamd does not answer: ${said()}`)
}

interface Reply {
  readonly symbols?: Readonly<Record<string, { readonly options?: readonly string[] }>>
  readonly 'dkim-signature'?: string | readonly string[]
  readonly milter?: { readonly add_headers?: Readonly<Record<string, Added | readonly Added[]>> }
}
type Added = string | { readonly value: string; readonly order?: number }

function scanned(reply: Reply): Scanned {
  const { symbols = {}, milter = {} } = reply
  const asked = Object.entries(milter.add_headers ?? {})
    .flatMap(([name, all]) => [all].flat().map(one => ({ name, ...(typeof one === 'string' ? { value: one } : one) })))
    .map(({ name, value, order = 0 }: { name: string; value: string; order?: number }) => ({ name, value, order }))
  // Each goes to the top in the order in which it says.
  const added = asked.sort((one, other) => other.order - one.order).map(({ name, value }) => [name, value] as const)
  const signatures = [reply['dkim-signature'] ?? []].flat().map(value => ['DKIM-Signature', value] as const)
  return {
    symbols: Object.fromEntries(Object.entries(symbols).map(([name, { options = [] }]) => [name, options])),
    added: [...signatures, ...added],
  }
}

function configuration(folder: string, port: number, { dns, dkim, arc }: RspamdOptions): string {
  const names = ['R_DKIM_ALLOW', 'R_DKIM_REJECT', 'R_DKIM_TEMPFAIL', 'R_DKIM_PERMFAIL', 'R_DKIM_NA', 'DKIM_SIGNED']
  const arcNames = ['ARC_ALLOW', 'ARC_REJECT', 'ARC_INVALID', 'ARC_DNSFAIL', 'ARC_NA', 'ARC_SIGNED']
  const key = (one: SigningKey | undefined) =>
    one === undefined ? '' : `domain { ${one.domain} { selector = "${one.selector}"; path = "${one.file}"; } }`
  return `options {
  pidfile = "${folder}/pid";
  cache_file = "${folder}/symbols";
  history_file = "${folder}/history";
  hs_cache_dir = "${folder}";
  tempdir = "${folder}";
  url_tld = "${folder}/suffixes";
  disable_hyperscan = true;
  filters = "dkim";
  explicit_modules = [];
  local_addrs = [];
  task_timeout = 20s;
  dns { nameserver = ["${dns}"]; timeout = 5s; retransmits = 3; }
}
logging { type = "console"; level = "warning"; }
worker "normal" { bind_socket = "127.0.0.1:${port}"; count = 1; max_tasks = 0; }
modules { path = "$PLUGINSDIR"; }
actions { reject = 1000; }
group "policies" { symbols { ${[...names, ...arcNames].map(name => `${name} { weight = 0.1; }`).join(' ')} } }
dkim { dkim_cache_size = 2k; }
dkim_signing { sign_authenticated = true; sign_local = false; allow_username_mismatch = true; use_esld = false; ${key(dkim)} }
arc { sign_inbound = true; sign_local = false; use_esld = false; use_domain = "${arc?.domain ?? 'recipient'}"; ${key(arc)} }
`
}
