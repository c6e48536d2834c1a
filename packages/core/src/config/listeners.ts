import { networkInterfaces } from 'node:os'
import type { ListenAddress, ListenerConfig } from './contract.ts'
import type { Problem } from './explain.ts'
import { fromConfig } from './folder.ts'
import type { ListenerInput } from './listener-schema.ts'
import type { ParsedConfig } from './schema.ts'

/** Fills in what a listener's name and role imply. Problems carry paths below the configuration's root. */
export function listenersOf(config: ParsedConfig, hostname: string, problems: Problem[]): ListenerConfig[] {
  const listeners: ListenerConfig[] = []
  for (const [name, input] of Object.entries(config.listeners)) {
    const role = input.role ?? roleOf(name)
    if (role === undefined) {
      problems.push({
        path: ['listeners', name],
        message: `the name ${JSON.stringify(name)} does not tell what the listener is for`,
        fix: 'Add role: mx, submission or lmtp.',
      })
      continue
    }
    listeners.push(listener(name, role, input, config, hostname, problems))
  }
  refuseTwice(listeners, problems)
  return listeners
}

function listener(
  name: string,
  role: ListenerConfig['role'],
  input: ListenerInput,
  config: ParsedConfig,
  hostname: string,
  problems: Problem[],
): ListenerConfig {
  const written = Array.isArray(input.listen) ? input.listen : [input.listen]
  const listen: ListenAddress[] = []
  for (const [i, text] of written.entries()) {
    const address = parseListen(text)
    if (address !== undefined) listen.push(address)
    else {
      problems.push({
        path: ['listeners', name, 'listen', ...(Array.isArray(input.listen) ? [i] : [])],
        message: `expected an address like 25, 127.0.0.1:25, [::1]:25, unix:/path or fd:3, found ${JSON.stringify(text)}`,
      })
    }
  }
  const tls = input.tls ?? (/^(submissions|smtps)/.test(name) ? 'implicit' : role === 'lmtp' ? 'none' : 'starttls')
  // With implicit TLS there is no MAIL before TLS.
  const requireTls = input.requireTls ?? (role === 'submission' && tls === 'starttls')
  const auth = input.auth ?? (role === 'submission' ? 'required' : 'off')
  if (requireTls && tls === 'none') {
    problems.push({
      path: ['listeners', name, 'requireTls'],
      message: 'TLS is required, but not offered',
      fix: 'Set tls: starttls, or leave requireTls out.',
    })
  }
  if (auth !== 'off' && tls === 'none' && !input.insecureAuth) {
    problems.push({
      path: ['listeners', name, 'auth'],
      message: 'nobody could log in: there is no TLS, and AUTH without TLS is not allowed',
      fix: 'Set tls: starttls; or insecureAuth: true if nobody can listen on the way.',
    })
  }
  const own = Object.fromEntries(Object.entries(input.limits).filter(([, value]) => value !== undefined))
  return {
    name,
    role,
    listen,
    tls,
    requireTls,
    auth,
    insecureAuth: input.insecureAuth,
    proxy: input.proxy,
    hostname: input.hostname ?? hostname,
    ...(input.banner === undefined ? {} : { banner: input.banner }),
    binarymime: input.binarymime,
    bareNewlines: input.bareNewlines,
    priorities: input.priorities,
    limits: { ...config.limits, ...own },
  }
}

function roleOf(name: string): ListenerConfig['role'] | undefined {
  return /^submission/.test(name)
    ? 'submission'
    : /^lmtp/.test(name)
      ? 'lmtp'
      : /^smtps/.test(name)
        ? 'submission'
        : /^(mx|smtp)/.test(name)
          ? 'mx'
          : undefined
}

/** `25`, `127.0.0.1:25`, `[::1]:25`, `*:25`, `localhost:25`, `unix:/path`, `fd:3`; undefined where it is none of these. */
export function parseListen(input: string | number): ListenAddress | undefined {
  const text = String(input)
  const unix = /^unix:(.+)$/.exec(text)?.[1]
  if (unix !== undefined) return unix.includes('\0') ? undefined : { kind: 'unix', path: fromConfig(unix) }
  const fd = /^fd:(\d{1,4})$/.exec(text)?.[1]
  // 0, 1 and 2 are standard input, output and error.
  if (fd !== undefined) return Number(fd) < 3 ? undefined : { kind: 'fd', fd: Number(fd) }
  const match = /^(?:(?:\[([0-9a-f:.%a-z]+)\]|([a-z0-9._-]+|\*)):)?(\d{1,5})$/i.exec(text)
  if (match === null) return undefined
  const port = Number(match[3])
  const host = match[1] ?? match[2] ?? '*'
  if (port > 65_535) return undefined
  return { kind: 'tcp', host: host === '*' ? anyHost() : host, port }
}

/** Every address of the machine: both families where it has IPv6. */
function anyHost(): string {
  const has6 = Object.values(networkInterfaces()).some(list => list?.some(entry => entry.family === 'IPv6'))
  return has6 ? '::' : '0.0.0.0'
}

function refuseTwice(listeners: readonly ListenerConfig[], problems: Problem[]): void {
  const taken = new Map<string, string>()
  for (const { name, listen } of listeners) {
    for (const address of listen) {
      // Port 0 is a different one each time.
      if (address.kind === 'tcp' && address.port === 0) continue
      const key = formatListen(address)
      const other = taken.get(key)
      if (other !== undefined) {
        problems.push({
          path: ['listeners', name, 'listen'],
          message: `${key} is taken by the listener ${other}`,
          fix: 'Give each listener an address of its own.',
        })
      }
      taken.set(key, name)
    }
  }
}

/** An address as it is written in a config file. */
export function formatListen(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  if (address.kind === 'fd') return `fd:${address.fd}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
