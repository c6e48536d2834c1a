// Real DNS on loopback: Knot serves zones, signed where asked, and Unbound resolves and validates them. Nothing is asked
// elsewhere: both refuse what is in no zone here.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type ConfigInput, type DnsError, silentLog, systemClock } from '@posthorn/core'
import { configOf, DnsResolver } from '@posthorn/core/runtime'
import { freePort, stopChild } from '../../bench/contender.ts'
import { program } from './needs.ts'
import { succeed } from './program.ts'

/** What `needs()` must say yes to. */
export const dnsPrograms = ['knotd', 'keymgr', 'unbound'] as const

export interface RigZone {
  /** Records in zone-file form, relative to the zone; SOA and NS are there already. TTL 60. */
  readonly records: string
  /**
   * `signed`: validates. `bogus`: signed by other keys than the resolver trusts, so it fails. `lame`: Unbound looks for it
   * at Knot, which does not have it until `mend`. Default: not signed.
   */
  readonly state?: 'signed' | 'bogus' | 'lame'
}

export interface DnsRig extends AsyncDisposable {
  /** Unbound, as `dns.servers` of a configuration wants it. */
  readonly resolver: string
  /** Knot, which does not recurse. */
  readonly authority: string
  /** Knot has the zone that was lame from now on. */
  mend(zone: string): void
  /** Unbound keeps its port and says nothing, until `wake`. */
  sleep(): void
  wake(): void
  /** Ends Unbound or Knot for good. */
  stop(which: 'resolver' | 'authority'): Promise<void>
}

/** Starts both; ready when the resolver answers for every zone. */
export async function startDns(zones: Readonly<Record<string, RigZone>>): Promise<DnsRig> {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-dns-'))
  const children: ChildProcess[] = []
  const dispose = async () => {
    for (const child of children) {
      child.kill('SIGCONT')
      await stopChild(child)
    }
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const ports = { knot: await freePort(), unbound: await freePort() }
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    for (const [name, { records }] of Object.entries(zones)) {
      const soa = '@ SOA ns hostmaster 1 3600 900 604800 60\n@ NS ns\nns A 127.0.0.1\n'
      file(`${name}.zone`, `$ORIGIN ${name}.\n$TTL 60\n${soa}${records}\n`)
    }
    const mended = new Set<string>()
    const knotConf = file('knot.conf', knotConfig(folder, ports.knot, zones, mended))
    for (const name of ['run', 'db']) mkdirSync(join(folder, name))
    const keymgr = (...args: readonly string[]) => succeed(path('keymgr'), ['-c', knotConf, ...args])
    const anchors: string[] = []
    for (const [name, { state }] of Object.entries(zones)) {
      if (state !== 'signed' && state !== 'bogus') continue
      await keymgr(name, 'generate', 'algorithm=ECDSAP256SHA256', 'ksk=yes', 'zsk=yes')
      const { out } = await keymgr(name, 'ds')
      const ds = out.split('\n').find(line => / DS \d+ 13 2 /.test(line))
      if (ds === undefined) throw new Error(`keymgr printed no DS for ${name}: ${out}`)
      anchors.push(state === 'signed' ? ds : ds.replace(/[0-9a-f]{8}$/i, '00000000'))
    }
    const start = (name: (typeof dnsPrograms)[number], ...args: readonly string[]) => {
      const child = spawn(path(name), args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
      children.push(child)
      let said = ''
      const keep = (text: unknown) => {
        said = `${said}${text}`.slice(-4_000)
      }
      for (const stream of [child.stdout, child.stderr]) stream.on('data', keep)
      return { child, said: () => said }
    }
    const knot = start('knotd', '-c', knotConf)
    const unbound = start(
      'unbound',
      '-d',
      '-p',
      '-c',
      file('unbound.conf', unboundConfig(ports, Object.keys(zones), anchors)),
    )
    for (const name of Object.keys(zones)) {
      // A bogus zone is ready when it fails.
      await answers(`127.0.0.1:${ports.unbound}`, name, () => `${knot.said()}\n${unbound.said()}`)
    }
    return {
      resolver: `127.0.0.1:${ports.unbound}`,
      authority: `127.0.0.1:${ports.knot}`,
      mend: zone => {
        mended.add(zone)
        file('knot.conf', knotConfig(folder, ports.knot, zones, mended))
        knot.child.kill('SIGHUP')
      },
      sleep: () => void unbound.child.kill('SIGSTOP'),
      wake: () => void unbound.child.kill('SIGCONT'),
      stop: which => stopChild(which === 'resolver' ? unbound.child : knot.child),
      [Symbol.asyncDispose]: dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

function path(name: (typeof dnsPrograms)[number]): string {
  const found = program(name)
  if (found === undefined) throw new Error(`${name} is not installed`)
  return found
}

function knotConfig(
  folder: string,
  port: number,
  zones: Readonly<Record<string, RigZone>>,
  mended: ReadonlySet<string>,
): string {
  const zone = ([name, { state }]: [string, RigZone]) =>
    `  - domain: ${name}\n    file: ${name}.zone\n${state === undefined || state === 'lame' ? '' : '    dnssec-signing: on\n    dnssec-policy: one\n'}`
  return `server:
    rundir: "${folder}/run"
    listen: 127.0.0.1@${port}
database:
    storage: "${folder}/db"
log:
  - target: stderr
    any: notice
policy:
  - id: one
    algorithm: ecdsap256sha256
    single-type-signing: on
    manual: on
template:
  - id: default
    storage: "${folder}"
    zonefile-sync: -1
    journal-content: none
zone:
${Object.entries(zones)
  .filter(([name, { state }]) => state !== 'lame' || mended.has(name))
  .map(zone)
  .join('')}`
}

function unboundConfig(
  ports: { readonly knot: number; readonly unbound: number },
  names: readonly string[],
  anchors: readonly string[],
): string {
  const stub = (name: string) => `stub-zone:\n    name: "${name}"\n    stub-addr: 127.0.0.1@${ports.knot}\n`
  return `server:
    interface: 127.0.0.1
    port: ${ports.unbound}
    do-daemonize: no
    username: ""
    chroot: ""
    directory: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    val-log-level: 2
    qname-minimisation: no
    infra-host-ttl: 1
    val-bogus-ttl: 1
    local-zone: "." refuse
${names.map(name => `    local-zone: "${name}" transparent\n`).join('')}${anchors.map(anchor => `    trust-anchor: "${anchor}"\n`).join('')}remote-control:
    control-enable: no
${names.map(stub).join('')}`
}

/** Asks for a zone until there is an answer: SERVFAIL of a bogus one. */
async function answers(resolver: string, zone: string, said: () => string): Promise<void> {
  const deadline = performance.now() + 20_000
  for (;;) {
    // Another one each time: it would remember a failure.
    const dns = await resolverOf([resolver], { timeout: 250, attempts: 1 })
    const end = await dns.resolve(zone, 'SOA').then(
      ({ status }) => status,
      (error: DnsError) => error.kind,
    )
    dns.close()
    if (end === 'ok' || end === 'servfail') return
    if (performance.now() > deadline) throw new Error(`${resolver} says ${end} of ${zone}: ${said()}`)
    await wait(50)
  }
}

/** Our resolver over these servers, as a configuration makes it. */
export async function resolverOf(
  servers: readonly string[],
  more: Omit<NonNullable<ConfigInput['dns']>, 'servers'> = {},
): Promise<DnsResolver> {
  const { dns } = await configOf(
    { hostname: 'mx.test', listeners: { mx: { listen: 0 } }, dns: { servers: [...servers], ...more } },
    '/',
  )
  return new DnsResolver({ config: dns, clock: systemClock, log: silentLog })
}
