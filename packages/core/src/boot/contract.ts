import type { Aborter } from '../aborter.ts'
import type { Config } from '../config/contract.ts'
import type { Plan } from '../hooks/contract.ts'
import type { AnyPlugin } from '../plugin.ts'
import type { Token } from '../token.ts'

/** A plugin as loaded for one entry of the config: the value, and the entry it came from (same index as `config.plugins`). */
export interface LoadedPlugin {
  readonly plugin: AnyPlugin
  /** Where its code was found, for `check`. */
  readonly from: string
  /** Where an option is written, for errors: `posthorn.config.yaml:12 plugins[2].relay.port`. Absent in tests. */
  where?(path: readonly PropertyKey[]): string
}

/** What the loader gives the generation builder. */
export interface LoadedConfig {
  readonly config: Config
  readonly plugins: readonly LoadedPlugin[]
  /** The file it came from; absent in tests. */
  readonly file?: string
  /** Where an option of it is written: `posthorn.config.yaml:3 tls.default.cert`. Absent in tests. */
  place?(path: readonly PropertyKey[]): string
  /** What is allowed but unwise: a secret that everybody can read. */
  readonly warnings?: readonly string[]
}

/** One configuration at work. Sessions and sends hold it; retired, it ends when the last lets go, or at `drain`. */
export interface Generation {
  readonly number: number
  readonly config: Config
  readonly plan: Plan
  /** Plugins in config order, by the name they go by. */
  readonly plugins: readonly { readonly name: string; readonly use: string; readonly from: string }[]
  /** Fires when a retired generation's time is up. */
  readonly retired: Aborter
  get<T>(token: Token<T>): T | undefined
  /** Counts a session or send; call the result once to let go. */
  hold(): () => void
}
