// What we override of smtp-server, and what we count on it doing. Its underscore members are no public interface: an
// upgrade that changes one of these fails here, with the name of what it was.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect, createServer, type Socket } from 'node:net'
import { Writable } from 'node:stream'
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls'
import { goodCertificate } from '@posthorn/testing'
import { SMTPServer } from 'smtp-server'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import { afterEach, expect, test } from 'vitest'

class Parser extends Writable {
  isClosed = false
  readonly seen: string[] = []
  override _write(chunk: Buffer, _: BufferEncoding, next: () => void) {
    this.seen.push(chunk.toString())
    next()
  }
}

class Server extends SMTPServer {
  readonly asked: string[] = []
  override updateSecureContext(): void {
    this.secureContext = new Map()
  }
  override _resolveSNI(servername: string, answer: (error: Error | null, context?: SecureContext) => void): void {
    this.asked.push(servername)
    answer(null, this.secureContext.get('*'))
  }
}

class Connection extends SMTPConnection {
  readonly log: string[] = []
  readonly armed: (Socket | undefined)[] = []
  override _createParser(): SMTPStream {
    return new Parser() as unknown as SMTPStream
  }
  override _armTimeout(socket?: Socket): void {
    this.armed?.push(socket)
  }
  override init(): void {
    this._setListeners(() => this.log.push('init'))
  }
  override _onClose(): void {
    super._onClose()
    this.log.push('close')
  }
  get parser(): Parser {
    return this._parser as unknown as Parser
  }
}

const cleanUp: (() => void)[] = []
afterEach(() => {
  for (const act of cleanUp.splice(0)) act()
})

async function pair(options: ConstructorParameters<typeof SMTPServer>[0] = {}) {
  const server = new Server({ logger: false, ...options })
  server.on('error', () => {})
  const listening = createServer({ allowHalfOpen: true })
  listening.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const client = connect((listening.address() as { port: number }).port, '127.0.0.1')
  const [socket] = (await once(listening, 'connection')) as [Socket]
  cleanUp.push(
    () => client.destroy(),
    () => socket.destroy(),
    () => listening.close(),
  )
  client.on('error', () => {})
  return { server, client, socket }
}

const until = async (met: () => boolean) => {
  while (!met()) await new Promise<void>(resolve => setImmediate(resolve))
}

test('the version is the one that was read', () => {
  const manifest = createRequire(import.meta.url).resolve('smtp-server/package.json')
  expect(JSON.parse(readFileSync(manifest, 'utf8')).version).toBe('3.21.6')
})

test('SMTPServer: no certificate gets in but ours, and nothing listens by itself', () => {
  const server = new Server({ logger: false, secure: true })
  expect(server.secureContext.size).toBe(0)
  expect(server.server.listening).toBe(false)
  expect(server._pendingSockets).toBeInstanceOf(Map)
  expect(server.options).not.toHaveProperty('key')
})

test('SMTPConnection: the parser is made in the constructor, `_server` is set by then, `_socket` piped into it by _setListeners', async () => {
  const { server, client, socket } = await pair()
  let early: unknown
  class Early extends Connection {
    override _createParser(): SMTPStream {
      early = this._server
      return super._createParser()
    }
  }
  const connection = new Early(server, socket, { id: '-' })
  expect(early).toBe(server)
  expect(connection.id).toBe('-')
  expect(connection.log).toEqual([])
  connection.init()
  expect(connection.log).toEqual(['init'])
  client.write('EHLO early\r\n')
  await until(() => connection.parser.seen.length > 0)
  expect(connection.parser.seen.join('')).toBe('EHLO early\r\n')
})

test('init is all there is before the first octet: no greeting, no delay, no timer of its own', async () => {
  const { server, client, socket } = await pair()
  const connection = new Connection(server, socket, { id: '-' })
  let heard = ''
  client.on('data', chunk => {
    heard += chunk
  })
  connection.init()
  expect(connection.armed).toEqual([undefined])
  expect(socket.timeout ?? 0).toBe(0)
  await new Promise(resolve => setTimeout(resolve, 120))
  expect(heard).toBe('')
})

test('close: ends the socket after what was written, closes and unpipes the parser', async () => {
  const { server, client, socket } = await pair()
  const connection = new Connection(server, socket, { id: '-' })
  connection.init()
  const { parser } = connection
  let heard = ''
  client.on('data', chunk => {
    heard += chunk
  })
  socket.write('221 Bye\r\n')
  connection.close()
  expect(parser.isClosed).toBe(true)
  expect(connection._closing).toBe(true)
  client.write('NOOP\r\n')
  await once(client, 'end')
  expect(heard).toBe('221 Bye\r\n')
  client.destroy()
  await until(() => connection.log.includes('close'))
  expect(parser.seen).toEqual([])
  expect(connection._closed).toBe(true)
  expect(connection._parser).toBe(false)
})

test('_onClose is called when the client goes, and calls nothing of a session', async () => {
  const { server, client, socket } = await pair()
  const connection = new Connection(server, socket, { id: '-' })
  connection.on('error', () => {})
  connection.init()
  client.resetAndDestroy()
  await until(() => connection.log.includes('close'))
  expect(connection._closed).toBe(true)
})

test('upgrade: retires the old parser at once, arms the TLS socket while _upgrading, pipes it into a new one', async () => {
  const { server, client, socket } = await pair()
  server.secureContext.set('*', createSecureContext({ ...goodCertificate, minVersion: 'TLSv1.2' }))
  const connection = new Connection(server, socket, { id: '-' })
  connection.on('error', () => {})
  connection.init()
  const old = connection.parser
  let armedWhile = false
  connection._armTimeout = top => {
    armedWhile = connection._upgrading
    connection.armed.push(top)
  }
  const secured = new Promise<void>(resolve => connection.upgrade(() => false, resolve))
  expect(old.isClosed).toBe(true)
  expect(connection._upgrading).toBe(true)
  expect(armedWhile).toBe(true)
  const top = connection.armed.at(-1)
  const secure = connectTls({ socket: client, rejectUnauthorized: false, servername: 'MX.example.test' })
  secure.on('error', () => {})
  await secured
  expect(connection._socket).toBe(top)
  expect(connection._upgrading).toBe(false)
  expect(connection.secure).toBe(true)
  expect(connection.parser).not.toBe(old)
  expect(server.asked).toEqual(['MX.example.test'])
  secure.write('EHLO tls\r\n')
  await until(() => connection.parser.seen.length > 0)
  expect(connection.parser.seen.join('')).toBe('EHLO tls\r\n')
  expect(old.seen).toEqual([])
})

test('_upgrade: implicit TLS, and the topmost socket is found in _pendingSockets meanwhile', async () => {
  const { server, client, socket } = await pair({ secure: true })
  server.secureContext.set('*', createSecureContext({ ...goodCertificate, minVersion: 'TLSv1.2' }))
  server._pendingSockets.set(socket, socket)
  const upgraded = new Promise<unknown>((resolve, reject) =>
    server._upgrade(socket, (error, secured) => (error ? reject(error) : resolve(secured))),
  )
  const top = server._pendingSockets.get(socket)
  expect(top).not.toBe(socket)
  connectTls({ socket: client, rejectUnauthorized: false }).on('error', () => {})
  expect(await upgraded).toBe(top)
})

test('_upgrade: a failed handshake is reported once, with an error', async () => {
  const { server, client, socket } = await pair({ secure: true })
  server.secureContext.set('*', createSecureContext({ ...goodCertificate, minVersion: 'TLSv1.2' }))
  const upgraded = new Promise<unknown>(resolve => server._upgrade(socket, error => resolve(error)))
  client.write('EHLO plain\r\n')
  expect(await upgraded).toBeInstanceOf(Error)
})
