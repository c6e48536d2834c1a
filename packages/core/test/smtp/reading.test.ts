import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { lendingReads, lendReads, type Take } from '../../src/smtp/reading.ts'

const open: { destroy(): void }[] = []
afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** Two ends of a connection: one that was accepted, and the client's. */
async function pair(): Promise<{ accepted: Socket; client: Socket }> {
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [accepted] = (await once(server, 'connection')) as [Socket]
  server.close()
  open.push(accepted, client)
  return { accepted, client }
}

/** Takes what is lent until `text` has come. */
function taking(text: string): { readonly take: Take; readonly done: Promise<string>; said: string } {
  const { promise: done, resolve } = Promise.withResolvers<string>()
  const all = {
    said: '',
    done,
    take(chunk: Buffer) {
      all.said += chunk.toString('latin1')
      if (all.said.length >= text.length) resolve(all.said)
      return true
    },
  }
  return all
}

test('an accepted socket lends what it reads: this Node lets us', async () => {
  const { accepted, client } = await pair()
  const heard = taking('EHLO client.test\r\n')
  expect(lendReads(accepted, heard.take)).toBe(true)
  let events = 0
  accepted.on('data', () => events++)
  client.write('EHLO client.test\r\n')
  expect(await heard.done).toBe('EHLO client.test\r\n')
  accepted.end('250 server.test\r\n')
  expect(String(await once(client, 'data'))).toBe('250 server.test\r\n')
  client.end('QUIT\r\n')
  await once(accepted, 'end')
  expect(heard.said).toBe('EHLO client.test\r\nQUIT\r\n')
  expect(events).toBe(0)
})

test('sockets that read in turn do not see what others read', async () => {
  const pairs = await Promise.all(Array.from({ length: 8 }, pair))
  const texts = pairs.map((_, n) => `${n}`.repeat(200_000))
  const heard = pairs.map(({ accepted }, n) => {
    const one = taking(texts[n] as string)
    expect(lendReads(accepted, one.take)).toBe(true)
    accepted.resume()
    return one
  })
  for (const [n, { client }] of pairs.entries()) client.write(texts[n] as string)
  expect(await Promise.all(heard.map(({ done }) => done))).toEqual(texts)
})

test('who says no is lent nothing more until the socket is resumed', async () => {
  const { accepted, client } = await pair()
  const { promise: full, resolve: filled } = Promise.withResolvers<void>()
  let lent = 0
  let room = 0
  lendReads(accepted, chunk => {
    lent += chunk.length
    if (room > 0) return true
    filled()
    return false
  })
  accepted.resume()
  const size = 3_000_000
  client.end(Buffer.alloc(size))
  await full
  const before = lent
  // A turn of the loop in which it would have read.
  await new Promise(resolve => setImmediate(() => setImmediate(resolve)))
  expect(lent).toBe(before)
  room = 1
  accepted.resume()
  await once(accepted, 'end')
  expect(lent).toBe(size)
})

test('a socket that has something in store already is left as it is', async () => {
  const { accepted, client } = await pair()
  client.write('PROXY')
  await once(accepted, 'readable')
  expect(accepted.readableLength).toBe(5)
  expect(lendReads(accepted, () => true)).toBe(false)
  expect(String(accepted.read())).toBe('PROXY')
})

test('a client lends what it reads from its first octet on', async () => {
  const server = createServer(socket => socket.end('220 server.test\r\n'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const heard = taking('220 server.test\r\n')
  const { port } = server.address() as AddressInfo
  const client = connect({ port, host: '127.0.0.1', onread: lendingReads(heard.take) })
  open.push(client)
  client.resume()
  await once(client, 'end')
  server.close()
  expect(heard.said).toBe('220 server.test\r\n')
})
