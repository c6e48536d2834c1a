// What one plugin's `setup` gets, and what it may do only while it runs.
import type { Aborter } from '../aborter.ts'
import { PosthornError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { AnyPlugin, Setup } from '../plugin.ts'
import type { Token } from '../token.ts'
import type { Services } from './container.ts'
import type { Disposer } from './dispose.ts'
import type { SharedRegistry } from './shared.ts'

interface SetupParts {
  readonly plugin: AnyPlugin
  readonly name: string
  readonly log: Log
  readonly services: Services
  readonly shared: SharedRegistry
  readonly disposer: Disposer
  readonly over: Aborter
}

/** `close` ends the time in which services can be provided; it throws if a promised one was not. */
export function makeSetup(parts: SetupParts): { readonly context: Setup<any>; close(finished?: boolean): void } {
  const { plugin, name, log, services, shared, disposer, over } = parts
  const promised = new Map<string, Token<any>>((plugin.provides ?? []).map(token => [token.name, token]))
  let open = true
  const tokens = Object.entries((plugin.inject ?? {}) as Record<string, Token<any>>)
  const context: Setup<any> = {
    services: Object.fromEntries(tokens.map(([as, token]) => [as, services.get(token)])),
    name,
    log,
    get signal() {
      return over.signal
    },
    provide(token, value) {
      if (!open) throw misuse(`provided ${token.name} after its setup`, 'Provide services before setup returns.')
      if (!promised.delete(token.name)) {
        const fix = `Add the token to the plugin's \`provides\`, and provide it once.`
        throw misuse(`provided ${token.name}, which it did not promise, or twice`, fix)
      }
      services.provide(token, value)
    },
    async shared(key, config, openIt, close) {
      const share = await shared.acquire(`${name}/${key}`, config, openIt, close)
      disposer.add(name, log, () => share.release())
      return share.value
    },
    onDispose(fn) {
      disposer.add(name, log, fn)
    },
  }
  return {
    context,
    close(finished = false) {
      open = false
      const [missing] = promised.keys()
      if (finished && missing !== undefined) {
        throw misuse(`did not provide ${missing}, which it promises`, 'Call ctx.provide(token, value) in setup.')
      }
    },
  }
}

const misuse = (what: string, fix: string) => new PosthornError('POSTHORN_PLUGIN_SETUP', `it ${what}`, { fix })
