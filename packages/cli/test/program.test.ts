import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PosthornError, PosthornErrors, parsePasswordHash, StorageError, verifyPassword } from '@posthorn/core'
import type { QueueListing, QueueMessage, Status } from '@posthorn/core/runtime'
import { describe, expect, it } from 'vitest'
import { exitCodeOf, tell } from '../src/failure.ts'
import { printable, table } from '../src/table.ts'
import { answering, posthorn, temporary, terminal } from './terminal.ts'

describe('usage', () => {
  it('is told by --help, exit codes included', async () => {
    const { code, out } = await posthorn('/', '--help')
    expect(code).toBe(0)
    expect(out.join('\n')).toMatch(/init.*start.*check.*reload.*status.*send.*explain.*queue.*passwd/s)
    expect(out.join('\n')).toContain('78  something is wrong with the configuration')
  })

  it.each([
    ['', 64],
    ['stats', 64],
    ['start --hlep', 64],
    ['explain', 64],
    ['explain ../../etc', 64],
    ['queue list --limit many', 64],
    ['queue list --state dew', 64],
    ['queue list --older soon', 64],
    ['init --format toml --yes', 64],
    ['init', 64],
    ['send --server nowhere:at:all --to a@example.org', 64],
    ['status', 69],
    ['status --socket /nowhere/control.sock', 69],
    ['check', 78],
    ['start --config nope.yaml', 78],
    ['--version', 0],
    ['queue --help', 0],
  ])('`posthorn %s` ends with %d', async (args, code) => {
    expect((await posthorn(temporary(), args)).code).toBe(code)
  })

  it('knows what was meant', async () => {
    expect((await posthorn('/', 'stats')).err.join(' ')).toContain('Did you mean status?')
  })
})

describe('failures', () => {
  it.each<[Error, number]>([
    [new PosthornError('POSTHORN_CONFIG_INVALID', ''), 78],
    [new PosthornErrors('POSTHORN_BOOT_FAILED', '', [new PosthornError('POSTHORN_SERVICE_MISSING', '')]), 78],
    [new PosthornErrors('POSTHORN_BOOT_FAILED', '', [new PosthornError('POSTHORN_STORE_BUSY', '')]), 75],
    [new PosthornError('POSTHORN_STORE_BUSY', ''), 75],
    [new PosthornError('POSTHORN_STORE_ABSENT', ''), 78],
    [new PosthornError('POSTHORN_CONTROL_BUSY', ''), 75],
    [new PosthornError('POSTHORN_LISTEN_FAILED', '', { cause: { code: 'EADDRINUSE' } }), 75],
    [new PosthornError('POSTHORN_LISTEN_FAILED', '', { cause: { code: 'EACCES' } }), 78],
    [new StorageError('full', ''), 75],
    [Object.assign(new Error(), { code: 'ENOSPC' }), 75],
    [new PosthornError('POSTHORN_NOT_RUNNING', ''), 69],
    [new PosthornError('POSTHORN_QUEUE_UNKNOWN', ''), 64],
    [new PosthornError('POSTHORN_INTERNAL', ''), 70],
    [new TypeError('x is not a function'), 70],
  ])('%o ends with %d', (error, code) => expect(exitCodeOf(error)).toBe(code))

  it('say where, what, and what to do; where in our code only when asked', () => {
    const error = new PosthornErrors('POSTHORN_CONFIG_INVALID', 'two', [
      new PosthornError('POSTHORN_A', 'first', {
        at: 'x.yaml:3 drian',
        fix: 'Did you mean "drain"?',
        cause: new Error('deep'),
      }),
      new PosthornError('POSTHORN_B', 'second'),
    ])
    const io = terminal('/')
    tell(error, io, {})
    expect(io.lines).toEqual({
      out: [],
      err: ['posthorn: 2 problems:', 'x.yaml:3 drian: first', '  → Did you mean "drain"?', 'posthorn: second'],
    })
    const loud = terminal('/')
    tell(error, loud, { verbose: true })
    expect(loud.lines.err).toContain('    caused by: deep')
    const json = terminal('/')
    tell(error, json, { json: true })
    expect(JSON.parse(json.lines.out[0] ?? '')).toMatchObject({
      error: { errors: [{ at: 'x.yaml:3 drian' }, { code: 'POSTHORN_B' }] },
    })
  })
})

it('tables are aligned, and text of others cannot steer the terminal', () => {
  expect(
    table([
      ['a', 'bb', 'c'],
      ['aaa', 1, ''],
    ]),
  ).toEqual(['a    bb  c', 'aaa  1'])
  expect(printable('a\x1b[2J\r\nb\u202ec\0')).toBe('a\\x1b[2J\\x0d\\x0ab\\x202ec\\x00')
})

const totals = { messages: 1, recipients: { due: 0, deferred: 1, held: 0, unrouted: 0 } }

describe('commands to a running server', () => {
  it('status prints its answer, or JSON', async () => {
    const cwd = temporary()
    const status: Status = {
      version: '1.2.3',
      pid: 7,
      node: 'v24',
      hostname: 'mx.example.org',
      started: Date.now() - 90_000,
      data: '/data',
      generation: 3,
      listeners: [{ name: 'mx', role: 'mx', addresses: ['127.0.0.1:25'], tls: 'starttls', connections: 2 }],
      plugins: [{ name: 'relay-2', use: 'relay', from: '/x.js' }],
      queue: totals,
      counts: { accepted: 5 },
      memory: { rss: 2 ** 27, heap: 2 ** 20 },
      alarms: ['1 recipients wait \x1b[31mwithout a route'],
    }
    await answering(cwd, { status: async () => status })
    const { code, out } = await posthorn(cwd, 'status')
    expect(code).toBe(0)
    expect(out.join('\n')).toContain('mx        mx    starttls  2            127.0.0.1:25')
    expect(out.join('\n')).toContain('relay-2 (relay)  /x.js')
    expect(out.at(-1)).toBe('ALARM  1 recipients wait \\x1b[31mwithout a route')
    expect(JSON.parse((await posthorn(cwd, 'status --json')).out[0] ?? '')).toEqual(status)
  })

  it('queue list asks for what was asked, and shows it', async () => {
    const cwd = temporary()
    let asked: unknown
    const now = Date.now()
    const message = {
      id: 'M1',
      received: now - 7_300_000,
      size: 2048,
      from: '',
      recipients: 3,
      lane: 'relay/x:25',
      state: 'deferred' as const,
      next: now + 600_000,
      reason: '451 4.3.0 later',
    }
    const listing: QueueListing = { messages: [message], totals, more: true }
    await answering(cwd, {
      'queue.list': async params => {
        asked = params
        return listing
      },
    })
    const said = await posthorn(
      cwd,
      'queue list --lane relay/x:25 --state deferred --sender a@b --recipient c@d --older 2h --limit 5',
    )
    expect(asked).toEqual({
      lane: 'relay/x:25',
      state: 'deferred',
      sender: 'a@b',
      recipient: 'c@d',
      olderThan: 7_200_000,
      limit: 5,
    })
    expect(said.out).toEqual([
      'id  age  size   state         lane        rcpts  from  last reply',
      'M1  2h   2 KiB  deferred 10m  relay/x:25  3      <>    451 4.3.0 later',
      '… and more. 1 queued: 0 recipients due, 1 deferred, 0 held, 0 without route',
    ])
  })

  it('queue hold tells people how far it is, and programs the end alone', async () => {
    const cwd = temporary()
    await answering(cwd, {
      'queue.apply': async (params, emit) => {
        expect(params).toEqual({ action: { kind: 'hold', reason: 'moonlight' }, filter: { sender: 'x.test' } })
        emit({ recipients: 250, seen: 400 })
        emit({ recipients: 500, seen: 700, of: 1200 })
        return { messages: 900, recipients: 1000 }
      },
    })
    const words = 'queue hold --sender x.test --reason moonlight'
    const said = await posthorn(cwd, words)
    expect([said.code, said.err, said.out]).toEqual([
      0,
      ['… 250 recipients; 400 looked at', '… 500 recipients; 700 of 1200 looked at'],
      ['held: 1000 recipients of 900 messages'],
    ])
    const json = await posthorn(cwd, `${words} --json`)
    expect([json.code, json.err, json.out]).toEqual([0, [], ['{"messages":900,"recipients":1000}']])
  })

  it('queue show prints envelope, attempts and header', async () => {
    const cwd = temporary()
    const message: QueueMessage = {
      id: 'M1',
      received: Date.now(),
      size: 10,
      from: 'a@example.org',
      user: 'anna',
      header: 'Subject: x\x07\r\n',
      recipients: [
        {
          address: 'b@example.org',
          original: 'list@example.org',
          lane: 'local',
          state: 'held',
          attempts: [{ at: 0, result: 'reject 550 5.1.1', remote: 'mx.b' }],
        },
      ],
    }
    await answering(cwd, { 'queue.show': async () => message })
    const out = (await posthorn(cwd, 'queue show M1')).out.join('\n')
    expect(out).toContain('b@example.org (was list@example.org): held, by local')
    expect(out).toMatch(/mx\.b {2}reject 550 5\.1\.1/)
    expect(out).toContain('Subject: x\\x07')
  })

  it('explain prints the trace', async () => {
    const cwd = temporary()
    const entries = [
      { at: 1000, stage: 'connect', plugin: 'dnsbl', verdict: '-', ms: 12.4 },
      {
        at: 1250,
        stage: 'data',
        plugin: 'filter',
        verdict: 'reject 550 5.7.1',
        reason: 'score 20',
        ms: 3,
        edits: ['X-Spam: yes'],
      },
      { at: 1250, stage: 'rcpt', plugin: 'domains', verdict: 'accept', count: 500 },
    ]
    await answering(cwd, { explain: async params => ({ ...(params as object), entries, truncated: true }) })
    const { out } = await posthorn(cwd, 'explain <M1>')
    expect(out.slice(1)).toEqual([
      '  +0.000s  connect  dnsbl    -                 12 ms',
      '  +0.250s  data     filter   reject 550 5.7.1  3.0 ms',
      '      score 20',
      '      X-Spam: yes',
      '  +0.250s  rcpt     domains  accept ×500',
      '  (more happened than a trace holds)',
    ])
  })

  it('reload tells warnings, or all that is wrong', async () => {
    const cwd = temporary()
    let bad = false
    await answering(cwd, {
      async reload() {
        if (!bad) return { generation: 4, warnings: ['chmod 600 it'] }
        throw new PosthornErrors('POSTHORN_CONFIG_INVALID', '', [
          new PosthornError('POSTHORN_CONFIG_INVALID', 'no', { at: 'x:1' }),
        ])
      },
    })
    expect(await posthorn(cwd, 'reload')).toEqual({
      code: 0,
      out: ['Reloaded: configuration 4 is at work.'],
      err: ['warning: chmod 600 it'],
    })
    bad = true
    expect(await posthorn(cwd, 'reload')).toEqual({ code: 78, out: [], err: ['x:1: no'] })
    expect(JSON.parse((await posthorn(cwd, 'reload --json')).out[0] ?? '')).toMatchObject({
      error: { errors: [{ at: 'x:1' }] },
    })
  })
})

it('passwd hashes what is piped in', async () => {
  const { out } = await posthorn('/', 'passwd', { input: async () => Buffer.from('geheim\n') })
  expect(parsePasswordHash(out[0] ?? '')).toBeDefined()
  expect(await verifyPassword('geheim', out[0])).toBe(true)
  expect((await posthorn('/', 'passwd')).code).toBe(64)
})

describe('check', () => {
  const config = (plugins: unknown[], more = {}) =>
    JSON.stringify({ hostname: 'mx.example.org', listeners: { mx: { listen: '127.0.0.1:0' } }, plugins, ...more })
  const gate = (name: string, spec: string) =>
    `export default { name: ${JSON.stringify(name)}, schema: { '~standard': { version: 1, vendor: 't', validate: value => ({ value }) } }, setup: () => (${spec}) }`

  it('prints listeners, plugins, the order of hooks and who delivers', async () => {
    const cwd = temporary()
    const standard = [
      'storage-level',
      { domains: { domains: ['example.org'] } },
      'maildir',
      './late.mjs',
      './early.mjs',
    ]
    writeFileSync(join(cwd, 'posthorn.config.json'), config(standard))
    writeFileSync(join(cwd, 'late.mjs'), gate('late', "{ rcpt: { handler() {}, after: ['early', 'ghost'] } }"))
    writeFileSync(join(cwd, 'early.mjs'), gate('early', '{ rcpt() {}, mail: { handler() {}, effect: true } }'))
    const { code, out } = await posthorn(cwd, 'check')
    expect(code).toBe(0)
    const text = out.join('\n')
    expect(text).toContain('mx        mx    starttls  off     127.0.0.1:0')
    expect(text).toContain('  mail     (early)')
    expect(text).toContain('  rcpt     domains + early → late')
    expect(text).toContain('  deliver  maildir')
    expect(text).toContain('note: late wants its rcpt hook before or after ghost, which is not here')
    expect(text).toContain('early          ./early.mjs')
    const json = JSON.parse((await posthorn(cwd, 'check --json')).out[0] ?? '')
    expect(json).toMatchObject({ deliver: ['maildir'], absent: [{ plugin: 'late', name: 'ghost' }], unknown: [] })
  })

  it.each<[string, unknown[], object, string]>([
    ['no store', [{ domains: { domains: [] } }], {}, 'plugins: no plugin provides a store for the queue'],
    [
      'a missing service',
      ['storage-level', 'maildir'],
      {},
      'plugin maildir needs domains/domains, which no plugin provides',
    ],
    ['a plugin twice', ['storage-level', 'storage-level'], {}, 'two plugins go by the name storage-level'],
    ['a bad option', ['storage-level', { domains: { domain: [] } }], {}, 'unknown option "domain"'],
    [
      'no certificate',
      ['storage-level'],
      { tls: { default: { cert: '/none', key: '/none' } } },
      'cannot read /none: ENOENT',
    ],
  ])('refuses %s', async (_name, plugins, more, message) => {
    const cwd = temporary()
    writeFileSync(join(cwd, 'posthorn.config.json'), config(plugins, more))
    const { code, err } = await posthorn(cwd, 'check')
    expect(code).toBe(78)
    expect(err.join('\n')).toContain(message)
  })

  it('opens and writes nothing', async () => {
    const cwd = temporary()
    writeFileSync(join(cwd, 'posthorn.config.json'), config(['storage-level', { domains: { domains: [] } }, 'maildir']))
    await posthorn(cwd, 'check')
    const { readdirSync } = await import('node:fs')
    expect(readdirSync(cwd)).toEqual(['posthorn.config.json'])
  })
})
