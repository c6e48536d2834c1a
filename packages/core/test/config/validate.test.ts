import { describe, expect, expectTypeOf, it } from 'vitest'
import { loadConfig } from '../../src/boot/load.ts'
import type { Config } from '../../src/config/contract.ts'
import { type ConfigInput, defineConfig } from '../../src/config/schema.ts'
import { complaints, folderOf } from './folder.ts'

const load = (value: ConfigInput, folder = '/etc/posthorn') =>
  loadConfig({ inline: { value, folder, name: 'test' } }).then(loaded => loaded.config)

const refused = (value: unknown) => complaints('/nowhere', loadConfig({ inline: { value, folder: '/', name: 'test' } }))

describe('defaults', () => {
  it('are those of the documentation', async () => {
    const config = await load({ hostname: 'mx.example.org', listeners: { mx: { listen: '127.0.0.1:25' } } })
    const limits = {
      connections: 10_000,
      connectionsPerIp: 100,
      messageSize: 64 * 2 ** 20,
      recipients: 1_000,
      messagesPerConnection: 100_000,
      idleCommands: 100,
      errors: 20,
      commandLine: 4_096,
      headerSize: 256 * 1024,
      headerFields: 1_000,
      headerLines: 5_000,
      idle: 300_000,
      session: 7_200_000,
      dataTime: 3_600_000,
      minRate: 100,
    }
    expect(config).toEqual({
      hostname: 'mx.example.org',
      data: '/etc/posthorn/data',
      listeners: [
        {
          name: 'mx',
          role: 'mx',
          listen: [{ kind: 'tcp', host: '127.0.0.1', port: 25 }],
          tls: 'starttls',
          requireTls: false,
          auth: 'off',
          insecureAuth: false,
          proxy: false,
          hostname: 'mx.example.org',
          binarymime: false,
          bareNewlines: 'refuse',
          priorities: 'users',
          limits,
        },
      ],
      tls: { names: {}, minVersion: 'TLSv1.2', clients: { request: false } },
      trust: { proxy: [], xclient: [] },
      limits,
      body: { memory: 256 * 1024, inflight: 128 * 2 ** 20, deadline: 240_000 },
      queue: {
        retry: [5, 10, 20, 40, 80, 160, 240].map(minutes => minutes * 60_000),
        expire: 5 * 86_400_000,
        delayReport: 4 * 3_600_000,
        concurrency: 20,
        maxRecipients: 100,
        handover: { messages: 10_000, bytes: 64 * 2 ** 20 },
        held: { keep: 14 * 86_400_000, max: 10_000 },
        gather: 600_000,
      },
      dns: {
        trusted: [],
        timeout: 5_000,
        attempts: 2,
        concurrency: 200,
        cache: { entries: 50_000, maxTtl: 86_400_000, minTtl: 5_000, negativeTtl: 900_000 },
      },
      trace: { keep: 7 * 86_400_000, max: 2 ** 30 },
      log: { level: 'info' },
      control: { socket: '/etc/posthorn/data/control.sock' },
      drain: 600_000,
      mixed: 'junk',
      plugins: [],
    } satisfies Config)
  })

  it('of a listener come from its role, and the role from its name', async () => {
    const { listeners } = await load({
      hostname: 'a.example',
      limits: { idle: '1m' },
      listeners: {
        mx2: { listen: 'fd:3' },
        submission: { listen: '[::1]:587' },
        submissions: { listen: 'localhost:465' },
        lmtp: { listen: 'unix:lmtp.sock' },
        inside: { role: 'mx', listen: ['127.0.0.1:26', '127.0.0.2:26'], tls: 'none', limits: { recipients: 5 } },
      },
    })
    expect(listeners.map(l => [l.name, l.role, l.tls, l.requireTls, l.auth, l.listen])).toEqual([
      ['mx2', 'mx', 'starttls', false, 'off', [{ kind: 'fd', fd: 3 }]],
      ['submission', 'submission', 'starttls', true, 'required', [{ kind: 'tcp', host: '::1', port: 587 }]],
      ['submissions', 'submission', 'implicit', false, 'required', [{ kind: 'tcp', host: 'localhost', port: 465 }]],
      ['lmtp', 'lmtp', 'none', false, 'off', [{ kind: 'unix', path: '/etc/posthorn/lmtp.sock' }]],
      [
        'inside',
        'mx',
        'none',
        false,
        'off',
        [
          { kind: 'tcp', host: '127.0.0.1', port: 26 },
          { kind: 'tcp', host: '127.0.0.2', port: 26 },
        ],
      ],
    ])
    expect(listeners.map(l => [l.limits.recipients, l.limits.idle])).toEqual([
      [1000, 60_000],
      [1000, 60_000],
      [1000, 60_000],
      [1000, 60_000],
      [5, 60_000],
    ])
  })
})

describe('refusals', () => {
  it('name the nearest valid key at every depth', async () => {
    const value = {
      hostnam: 'x',
      listeners: { mx: { listen: 25, limts: {}, limits: { recipient: 1 } } },
      tls: { defalt: {}, names: { 'a.example': { crt: '', cert: 'a', key: 'b' } }, clients: { requst: true } },
      queue: { held: { kep: '1d' }, handover: { message: 1 } },
      plugins: [
        { use: 'domains', unles: {} },
        { use: 'domains', unless: { nets: [] } },
      ],
    }
    expect(await refused(value)).toEqual(
      expect.arrayContaining([
        'test hostnam | unknown option "hostnam" | Did you mean "hostname"?',
        'test listeners.mx.limts | unknown option "limts" | Did you mean "limits"?',
        'test listeners.mx.limits.recipient | unknown option "recipient" | Did you mean "recipients"?',
        'test tls.defalt | unknown option "defalt" | Did you mean "default"?',
        'test tls.names["a.example"].crt | unknown option "crt" | Did you mean "cert"?',
        'test tls.clients.requst | unknown option "requst" | Did you mean "request"?',
        'test queue.held.kep | unknown option "kep" | Did you mean "keep"?',
        'test queue.handover.message | unknown option "message" | Did you mean "messages"?',
        'test plugins[0].unles | unknown option "unles" | Did you mean "unless"?',
        'test plugins[1].unless.nets | unknown option "nets" | Did you mean "net"?',
      ]),
    )
  })

  it('list what there is where nothing is near', async () => {
    expect(await refused({ listeners: { mx: { listen: 25 } }, trace: { colour: 1 } })).toEqual([
      'test trace.colour | unknown option "colour" | Options here: keep, max.',
    ])
  })

  it.each<[string, unknown, string]>([
    ['no listener', { listeners: {} }, 'test listeners | expected at least one listener, found a group of options'],
    ['nothing at all', {}, 'test listeners | missing: expected a group of options'],
    ['a list', [], 'test | expected a group of options, found a list of 0'],
    ['a word', 'hello', 'test | expected a group of options, found "hello"'],
    [
      'a bad port',
      { listeners: { mx: { listen: 70_000 } } },
      'test listeners.mx.listen | expected at most 65535, found 70000',
    ],
    [
      'standard output',
      { listeners: { mx: { listen: 'fd:1' } } },
      'test listeners.mx.listen | expected an address like 25, 127.0.0.1:25, [::1]:25, unix:/path or fd:3, found "fd:1"',
    ],
    [
      'a nameless role',
      { listeners: { front: { listen: 25 } } },
      'test listeners.front | the name "front" does not tell what the listener is for | Add role: mx, submission or lmtp.',
    ],
    [
      'an enum',
      { listeners: { mx: { listen: 25, tls: 'startls' } } },
      'test listeners.mx.tls | expected one of "none", "starttls", "implicit", found "startls" | Did you mean "starttls"?',
    ],
    [
      'no TLS to log in',
      { listeners: { submission: { listen: 25, tls: 'none' } } },
      'test listeners.submission.auth | nobody could log in: there is no TLS, and AUTH without TLS is not allowed | Set tls: starttls; or insecureAuth: true if nobody can listen on the way.',
    ],
    [
      'a port twice',
      { listeners: { mx: { listen: '127.0.0.1:25' }, mx2: { listen: '127.0.0.1:25' } } },
      'test listeners.mx2.listen | 127.0.0.1:25 is taken by the listener mx | Give each listener an address of its own.',
    ],
    [
      'NUL in a name',
      { hostname: 'a\0b', listeners: { mx: { listen: 25 } } },
      'test hostname | expected a host name like mail.example.org, found "a\\u0000b"',
    ],
    [
      'a name for objects',
      { listeners: { mx: { listen: 25 } }, __proto__x: 1 },
      expect.stringContaining('unknown option "__proto__x"') as never,
    ],
  ])('%s', async (_name, value, message) => expect(await refused(value)).toContainEqual(message))

  it('tell of listeners even where something else is wrong', async () => {
    const all = await refused({ listeners: { front: { listen: 25 } }, drain: 'long' })
    expect(all).toHaveLength(2)
  })
})

it('defineConfig completes and checks', () => {
  expectTypeOf(defineConfig).parameter(0).toEqualTypeOf<ConfigInput>()
  defineConfig({ listeners: { mx: { listen: 25, tls: 'starttls' } }, plugins: ['domains', { relay: { to: 'x' } }] })
  // @ts-expect-error no such role
  defineConfig({ listeners: { mx: { listen: 25, role: 'mix' } } })
  // @ts-expect-error no such option
  defineConfig({ listeners: { mx: { listen: 25 } }, drian: '5m' })
})

it('says when the machine has no full name', async () => {
  const warnings: string[] = []
  const folder = folderOf({ 'posthorn.config.json': '{"hostname":"mail","listeners":{"mx":{"listen":0}}}' })
  await loadConfig({ cwd: folder, warn: message => warnings.push(message) })
  expect(warnings).toEqual([expect.stringContaining('hostname is mail, which has no domain')])
})
