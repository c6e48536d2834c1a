import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Clock } from '../../src/clock.ts'
import { ControlClient } from '../../src/control/client.ts'
import { locateSocket } from '../../src/control/locate.ts'
import { type ControlMethod, ControlServer } from '../../src/control/server.ts'
import { PosthornError, PosthornErrors } from '../../src/errors.ts'

let folder: string
let socket: string
const cleanup: (() => unknown)[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ph-'))
  socket = join(folder, 'data/control.sock')
})
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
  rmSync(folder, { recursive: true, force: true })
})

async function serve(
  methods: Record<string, ControlMethod>,
  options: ConstructorParameters<typeof ControlServer>[1] = {},
) {
  const server = new ControlServer(methods, options)
  await server.listen(socket)
  cleanup.push(() => server.close())
  return server
}

async function client() {
  const made = await ControlClient.connect(socket)
  cleanup.push(() => made.close())
  return made
}

/** A connection that says what it is told, and collects what comes. */
function raw(path = socket) {
  const plain = connect(path)
  cleanup.push(() => plain.destroy())
  let text = ''
  plain.on('data', chunk => {
    text += chunk
  })
  plain.on('error', () => {})
  const closed = new Promise<void>(done => plain.once('close', () => done()))
  return {
    plain,
    closed,
    text: () => text,
    lines: () =>
      text
        .split('\n')
        .filter(Boolean)
        .map(line => JSON.parse(line)),
  }
}

describe('a call', () => {
  it('gets its result, its events before it, in any order beside others', async () => {
    let release = () => {}
    const waiting = new Promise<void>(done => {
      release = done
    })
    await serve({
      echo: async params => params,
      nothing: async () => undefined,
      async count(params, emit) {
        for (let i = 1; i <= (params as number); i++) emit({ i })
        return 'counted'
      },
      async late() {
        await waiting
        return 'late'
      },
    })
    const c = await client()
    const late = c.call('late')
    const events: unknown[] = []
    expect(await c.call('count', 3, event => events.push(event))).toBe('counted')
    expect(events).toEqual([{ i: 1 }, { i: 2 }, { i: 3 }])
    expect(await c.call('echo', { text: 'zwölf\n\u2028"' })).toEqual({ text: 'zwölf\n\u2028"' })
    expect(await c.call('nothing')).toBeNull()
    release()
    expect(await late).toBe('late')
  })

  it('gets our errors whole, and says nothing of others', async () => {
    const lines: unknown[] = []
    const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => void lines.push(fields) }
    await serve(
      {
        async ours() {
          throw new PosthornErrors('POSTHORN_CONFIG_INVALID', '2 problems', [
            new PosthornError('POSTHORN_A', 'first', { at: 'x.yaml:1 a', fix: 'Do it.' }),
            new PosthornError('POSTHORN_B', 'second'),
          ])
        },
        async theirs() {
          throw new Error('password=hunter2')
        },
      },
      { log },
    )
    const c = await client()
    const error = (await c.call('ours').catch(reason => reason)) as PosthornErrors
    expect(error).toBeInstanceOf(PosthornErrors)
    expect(error.errors.map(e => [e.code, e.message, e.at, e.fix])).toEqual([
      ['POSTHORN_A', 'first', 'x.yaml:1 a', 'Do it.'],
      ['POSTHORN_B', 'second', undefined, undefined],
    ])
    const other = (await c.call('theirs').catch(reason => reason)) as PosthornError
    expect([other.code, other.message]).toEqual(['POSTHORN_INTERNAL', 'the server failed at this'])
    expect(lines).toHaveLength(1)
    for (const method of ['nope', 'toString', '__proto__', 'constructor']) {
      await expect(c.call(method)).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_UNKNOWN' })
    }
  })

  it('ends when its caller goes', async () => {
    const aborted = vi.fn()
    await serve({ forever: (_params, _emit, signal) => new Promise(() => signal.addEventListener('abort', aborted)) })
    const c = await client()
    const call = c.call('forever')
    await vi.waitFor(async () => expect(await c.call('nope').catch(e => e.code)).toBe('POSTHORN_CONTROL_UNKNOWN'))
    c.close()
    await expect(call).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_LOST' })
    await vi.waitFor(() => expect(aborted).toHaveBeenCalledOnce())
    await expect(c.call('forever')).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_LOST' })
  })

  it('ends when the server does', async () => {
    const server = await serve({ forever: () => new Promise(() => {}) })
    const lost = expect((await client()).call('forever')).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_LOST' })
    await server.close()
    await lost
    expect(existsSync(socket)).toBe(false)
    await expect(ControlClient.connect(socket)).rejects.toMatchObject({ code: 'POSTHORN_NOT_RUNNING' })
  })
})

describe('a bad caller', () => {
  it.each<[string, string | Buffer]>([
    ['no JSON', 'hello\n'],
    ['an HTTP request', 'GET / HTTP/1.1\r\n\r\n'],
    ['no object', '5\n'],
    ['null', 'null\n'],
    ['no id', '{"method":"echo"}\n'],
    ['no method', '{"id":1}\n'],
    ['an id of text', '{"id":"1","method":"echo"}\n'],
    ['octets', Buffer.from([0, 255, 254, 10])],
    ['a line without end', Buffer.alloc(1.5 * 2 ** 20, 'x')],
    ['an endless line with an end', Buffer.concat([Buffer.alloc(1.5 * 2 ** 20, 'x'), Buffer.from('\n')])],
  ])('that sends %s is told and cut off', async (_name, octets) => {
    await serve({ echo: async params => params })
    const { plain, closed, lines } = raw()
    plain.write(octets)
    await closed
    expect(lines()).toEqual([
      { id: null, error: { code: 'POSTHORN_CONTROL_BAD_REQUEST', message: expect.any(String) } },
    ])
    expect(await (await client()).call('echo', 1)).toBe(1)
  })

  it('that asks too much at once is cut off', async () => {
    await serve({ forever: () => new Promise(() => {}) })
    const { plain, closed, lines } = raw()
    for (let id = 1; id <= 17; id++) plain.write(`{"id":${id},"method":"forever"}\n`)
    await closed
    expect(lines()).toEqual([{ id: null, error: expect.objectContaining({ message: 'more than 16 calls at once' }) }])
  })

  it('that never reads a stream is cut off, not waited for', async () => {
    let sent = 0
    await serve({
      async flood(_params, emit, signal) {
        while (!signal.aborted && sent < 100) {
          emit('x'.repeat(2 ** 20))
          sent++
          await new Promise(setImmediate)
        }
        return null
      },
    })
    const { plain, closed } = raw()
    plain.pause()
    plain.write('{"id":1,"method":"flood"}\n')
    plain.on('close', () => {})
    await vi.waitFor(() => expect(sent).toBeGreaterThan(3))
    plain.resume()
    await closed
    expect(sent).toBeLessThan(50)
  })

  it('that never takes its answer is cut off after 30 seconds', async () => {
    const timers: { ms: number; fn: () => void }[] = []
    const clock: Clock = {
      now: () => 0,
      monotonic: () => 0,
      after(ms, fn) {
        timers.push({ ms, fn })
        return () => {}
      },
    }
    await serve({ big: async () => 'x'.repeat(8 * 2 ** 20) }, { clock })
    const { plain, closed } = raw()
    plain.pause()
    plain.write('{"id":1,"method":"big"}\n')
    await vi.waitFor(() => expect(timers).toHaveLength(1))
    expect(timers[0]?.ms).toBe(30_000)
    timers[0]?.fn()
    plain.resume()
    await closed
  })

  it('gets no answer that is too large, but is told so', async () => {
    await serve({ huge: async () => 'x'.repeat(33 * 2 ** 20) })
    await expect((await client()).call('huge')).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_TOO_LARGE' })
  })

  it('that sends a request octet by octet is as good as others', async () => {
    await serve({ echo: async params => params })
    const { plain, lines } = raw()
    plain.setNoDelay(true)
    for (const octet of Buffer.from('{"id":1,"method":"echo","params":"ü"}\n{"id":2,"method":"echo","params":2}\n')) {
      plain.write(Buffer.of(octet))
      await new Promise(setImmediate)
    }
    await vi.waitFor(() =>
      expect(lines()).toEqual([
        { id: 1, result: 'ü' },
        { id: 2, result: 2 },
      ]),
    )
  })
})

describe('the socket', () => {
  it('is its owner’s alone, in folders of its owner', async () => {
    await serve({})
    expect(lstatSync(socket).isSocket()).toBe(true)
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    expect(statSync(join(folder, 'data')).mode & 0o777).toBe(0o700)
  })

  it('of a server that died is taken over', async () => {
    mkdirSync(join(folder, 'data'))
    await abandonedSocket(socket)
    expect(existsSync(socket)).toBe(true)
    await serve({ echo: async params => params })
    expect(await (await client()).call('echo', 1)).toBe(1)
  })

  it('of a living server is not', async () => {
    await serve({ who: async () => 'first' })
    await expect(new ControlServer({}).listen(socket)).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_BUSY' })
    expect(await (await client()).call('who')).toBe('first')
  })

  it('never replaces a file', async () => {
    mkdirSync(join(folder, 'data'))
    writeFileSync(socket, 'precious')
    await expect(new ControlServer({}).listen(socket)).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_PATH' })
    expect(readFileSync(socket, 'utf8')).toBe('precious')
  })

  it('with a path too long for the system is put in the runtime folder, and found again', async () => {
    socket = join(folder, 'd'.repeat(120), 'control.sock')
    vi.stubEnv('XDG_RUNTIME_DIR', folder)
    const server = await serve({ echo: async params => params })
    vi.stubEnv('XDG_RUNTIME_DIR', '/elsewhere')
    expect(server.path.startsWith(join(folder, 'posthorn/'))).toBe(true)
    expect(readFileSync(`${socket}.path`, 'utf8')).toBe(server.path)
    expect(await (await client()).call('echo', 7)).toBe(7)
    await server.close()
    expect(existsSync(server.path)).toBe(false)
    expect(existsSync(`${socket}.path`)).toBe(false)
    vi.unstubAllEnvs()
  })

  it.skipIf(process.getuid?.() === 0)('that we may not open says so', async () => {
    await serve({})
    chmodSync(socket, 0)
    await expect(ControlClient.connect(socket)).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_DENIED' })
  })
})

describe('a command finds the socket', () => {
  it('of the configuration here or above, even a half-edited one', async () => {
    mkdirSync(join(folder, 'in'))
    writeFileSync(join(folder, 'posthorn.config.yaml'), 'data: ./var\nlisteners: oops\nplugins: [none]\n')
    expect(await locateSocket({ cwd: join(folder, 'in') })).toBe(join(folder, 'var/control.sock'))
    writeFileSync(join(folder, 'posthorn.config.yaml'), 'control: { socket: run/x.sock }\n')
    expect(await locateSocket({ cwd: folder })).toBe(join(folder, 'run/x.sock'))
    writeFileSync(join(folder, 'other.json'), '{}')
    expect(await locateSocket({ cwd: folder, file: 'other.json' })).toBe(join(folder, 'data/control.sock'))
  })

  it('of a demo, where there is no configuration', async () => {
    await expect(locateSocket({ cwd: folder })).rejects.toMatchObject({ code: 'POSTHORN_CONFIG_NOT_FOUND' })
    mkdirSync(join(folder, '.posthorn'))
    expect(await locateSocket({ cwd: folder })).toBe(join(folder, '.posthorn/control.sock'))
  })
})

/** A socket file that nobody listens at: bound by a process that was killed. */
async function abandonedSocket(path: string): Promise<void> {
  const { spawn } = await import('node:child_process')
  const code = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] })
  await new Promise(done => child.stdout.once('data', done))
  const exited = new Promise(done => child.once('exit', done))
  child.kill('SIGKILL')
  await exited
}

it('a server that answers with nonsense is an error, not a hang', async () => {
  mkdirSync(join(folder, 'data'))
  const callers: Socket[] = []
  const fake = createServer(caller => {
    callers.push(caller)
    caller.write('what?\n')
  })
  await new Promise<void>(done => fake.listen(socket, done))
  cleanup.push(() => {
    for (const caller of callers) caller.destroy()
    fake.close()
  })
  await expect((await client()).call('status')).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_BROKEN' })
})
