// What an operator does with the command line, against a real server in this process and its real store.
import { join } from 'node:path'
import type { LaneState, QueueLine, Trace } from '@posthorn/core/runtime'
import { SmtpPeer } from '@posthorn/testing'
import { expect, it } from 'vitest'
import { run } from '../../packages/cli/src/program.ts'
import { greeted, queueId, Rig, send, until } from './rig.ts'

/** A server whose next hop puts everybody off, and one message in its queue. */
async function waiting() {
  const peer = await SmtpPeer.start({ on: { rcpt: '450 4.2.1 Not now' } })
  const relay = { relay: { to: `127.0.0.1:${peer.port}`, tls: 'none' } }
  const rig = await Rig.start({ plugins: ['storage-level', { domains: { domains: ['example.test'] } }, relay] })
  const client = await greeted(rig)
  const id = queueId(await send(client, 'a@client.test', 'anna@example.test'))
  client.close()
  const lane = `relay/127.0.0.1:${peer.port}`
  await until('it was tried', async () => (await listed(rig))[0]?.state === 'deferred')
  return {
    rig,
    peer,
    id,
    lane,
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await peer.close()
    },
  }
}

/** One command line: its exit code, and what it printed as JSON. */
async function posthorn<T>(rig: Rig, ...args: string[]): Promise<{ code: number; json: T }> {
  const out: string[] = []
  const io = { cwd: rig.folder, env: {}, out: (line: string) => void out.push(line), err: () => {} }
  const code = await run([...args, '--socket', join(rig.data, 'control.sock'), '--json'], io as never)
  return { code, json: JSON.parse(out.at(-1) ?? 'null') as T }
}

async function listed(rig: Rig): Promise<readonly QueueLine[]> {
  return (await posthorn<{ messages: QueueLine[] }>(rig, 'queue', 'list')).json.messages
}

const one = { messages: 1, recipients: 1 }
const none = { messages: 0, recipients: 0 }

it('holds, releases, retries and deletes, by id and by filter', async () => {
  await using here = await waiting()
  const { rig, id, peer } = here
  expect((await posthorn(rig, 'queue', 'hold', id, '--reason', 'looks odd')).json).toEqual(one)
  expect((await listed(rig))[0]).toMatchObject({ id, state: 'held' })
  expect((await posthorn(rig, 'queue', 'release', '--sender', 'a@client.test')).json).toEqual(one)
  await until('it was tried again', async () => (await listed(rig))[0]?.state === 'deferred')
  expect((await posthorn(rig, 'queue', 'retry', '--recipient', 'nobody@example.test')).json).toEqual(none)
  peer.on = {}
  expect((await posthorn(rig, 'queue', 'retry', id)).json).toEqual(one)
  await rig.empty()
  expect(peer.count).toBe(1)
})

it('deletes everything only where it is told so', async () => {
  await using here = await waiting()
  expect((await posthorn(here.rig, 'queue', 'delete')).code).toBe(64)
  expect((await posthorn(here.rig, 'queue', 'delete', '--all')).json).toEqual(one)
  expect(await listed(here.rig)).toEqual([])
})

it('gives up at once, and tells the sender', async () => {
  await using here = await waiting()
  const { rig, id } = here
  expect((await posthorn(rig, 'queue', 'bounce', id, '--reason', 'mistyped')).json).toEqual(one)
  // The report goes to the sender by the same relay.
  await until('a report is queued', async () => (await listed(rig))[0]?.from === '')
})

it('pauses a lane and resumes it; the lane table says why', async () => {
  await using here = await waiting()
  const { rig, lane } = here
  await posthorn(rig, 'queue', 'pause', lane, '--reason', 'maintenance')
  const { json } = await posthorn<LaneState[]>(rig, 'queue', 'lanes')
  expect(json).toContainEqual(expect.objectContaining({ lane, state: 'paused', recipients: 1, reason: 'maintenance' }))
  await posthorn(rig, 'queue', 'hold', '--all')
  const [held] = (await posthorn<LaneState[]>(rig, 'queue', 'lanes')).json
  expect(held).toMatchObject({ lane, recipients: 0 })
  expect((await posthorn(rig, 'queue', 'resume', lane)).json).toEqual({ lane, state: 'resumed' })
})

it('explains what happened to a message', async () => {
  await using here = await waiting()
  const { json } = await posthorn<Trace>(here.rig, 'explain', here.id)
  const said = json.entries.map(({ stage, plugin = '', verdict }) => `${stage} ${plugin} ${verdict}`)
  expect(said).toEqual([
    'resolve domains -',
    'rcpt domains accept',
    'rcpt relay -',
    'answered  250 2.0.0',
    'deliver relay defer 450 4.2.1',
  ])
})

it('backs the store up while it runs: a server on the copy has the same queue', async () => {
  await using here = await waiting()
  const { rig, id } = here
  const copy = join(rig.folder, 'copy')
  const { code, json } = await posthorn(rig, 'backup', copy)
  expect(code).toBe(0)
  expect(json).toMatchObject({ missing: [] })
  await rig.stop()
  rig.config = { ...rig.config, data: copy }
  await rig.boot()
  expect((await rig.server.queue.operations.show(id)).from).toBe('a@client.test')
})
