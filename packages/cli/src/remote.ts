import { ControlClient, locateSocket, PosthornError } from '@posthorn/core/control'
import { bases } from './distribution.ts'
import type { Io } from './io.ts'

/** Which server a command talks to. */
export interface Where {
  readonly config?: string
  readonly socket?: string
}

/** Runs `work` with a connection to the running server, and closes it. Rejects with POSTHORN_NOT_RUNNING where there is none. */
export async function withServer<T>(io: Io, where: Where, work: (client: ControlClient) => Promise<T>): Promise<T> {
  const socket = where.socket ?? (await socketOf(io, where))
  const client = await ControlClient.connect(socket)
  try {
    return await work(client)
  } finally {
    client.close()
  }
}

async function socketOf(io: Io, { config }: Where): Promise<string> {
  try {
    return await locateSocket({ cwd: io.cwd, bases, ...(config === undefined ? {} : { file: config }) })
  } catch (error) {
    if (!(error instanceof PosthornError) || error.code !== 'POSTHORN_CONFIG_NOT_FOUND') throw error
    throw new PosthornError('POSTHORN_NOT_RUNNING', `${error.message}, so no server to ask`, {
      fix: 'Run this where the configuration is, or name it with --config, or the socket with --socket.',
    })
  }
}
