// Where an option is written, for errors that are found after the file was read and know the option's path alone.
import { PosthornError, PosthornErrors } from '../errors.ts'
import type { LoadedConfig } from './contract.ts'

/** `tls.default.cert`, not yet `posthorn.config.yaml:3 tls.default.cert`. */
const bare = /^(?:tls|listeners|plugins)(?:\.\S+)?$/

/** The error with its file and line, or itself where they are not known or are told already. */
export function inPlace(error: unknown, { place }: Pick<LoadedConfig, 'place'>): unknown {
  if (place === undefined || !(error instanceof PosthornError)) return error
  if (error instanceof PosthornErrors) {
    const all = error.errors.map(one => inPlace(one, { place }) as PosthornError)
    return all.every((one, i) => one === error.errors[i]) ? error : new PosthornErrors(error.code, error.message, all)
  }
  const { code, message, at, fix } = error
  if (at === undefined || !bare.test(at)) return error
  // The cause stays the first: exit codes are read from it.
  const { cause = error } = error
  return new PosthornError(code, message, { at: place(pathOf(at)), cause, ...(fix === undefined ? {} : { fix }) })
}

/** Names of hosts and listeners may have dots in them. */
function pathOf(at: string): string[] {
  const named = /^(tls\.names|listeners)\.(.+?)(?:\.(cert|key|listen))?$/.exec(at)
  if (named === null) return at.split('.')
  const [, before = '', name = '', last] = named
  return [...before.split('.'), name, ...(last === undefined ? [] : [last])]
}
