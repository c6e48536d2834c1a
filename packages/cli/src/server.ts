import { type LoadedConfig, Posthorn } from '@posthorn/core/runtime'

/** What `start` needs of the running server: `Posthorn` is one. Tests put another in its place. */
export interface Server {
  /** Where it listens, as bound. */
  readonly addresses: readonly { readonly listener: string; readonly address: string }[]
  /** Rejects, and changes nothing, where the new configuration cannot work. */
  reload(): Promise<unknown>
  /** Finishes what is under way, then ends. */
  stop(): Promise<void>
}

export type StartServer = (options: { load: () => Promise<LoadedConfig>; version: string }) => Promise<Server>

export const startServer: StartServer = options => Posthorn.start(options)
