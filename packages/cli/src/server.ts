import type { Log } from '@posthorn/core'
import type { LoadedConfig } from '@posthorn/core/runtime'
import * as runtime from '@posthorn/core/runtime'

/** What `start` needs of the running server: `Posthorn` of @posthorn/core/runtime. Tests put another in its place. */
export interface Server {
  /** Where it listens, as bound. */
  readonly addresses: readonly { readonly listener: string; readonly address: string }[]
  /** Rejects, and changes nothing, where the new configuration cannot work. */
  reload(): Promise<unknown>
  /** Finishes what is under way, then ends. */
  stop(): Promise<void>
}

export type StartServer = (options: { load: () => Promise<LoadedConfig>; log?: Log }) => Promise<Server>

export const startServer: StartServer = options =>
  (runtime as unknown as { readonly Posthorn: { start: StartServer } }).Posthorn.start(options)
