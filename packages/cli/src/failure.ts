import { PosthornError, PosthornErrors } from '@posthorn/core/control'
import { CommanderError } from 'commander'
import type { Io } from './io.ts'

/** Exit codes, from sysexits.h; `differs` is what `diff` says. */
export const exit = { ok: 0, differs: 1, usage: 64, unavailable: 69, internal: 70, busy: 75, config: 78 } as const

/** For `--help` and the README. */
export const exitHelp = `Exit codes:
  0   done
  1   dns --check: what is published differs
  64  wrong usage
  69  no server answers, or it cannot be reached
  70  a fault inside Posthorn, or the message was not accepted
  75  try later: the store is busy, the disk is full, a port is taken
  78  something is wrong with the configuration`

/** Wrong usage, found after the command line was parsed. */
export const usageError = (message: string, fix?: string) =>
  new PosthornError('POSTHORN_USAGE', message, fix === undefined ? {} : { fix })

const byCode: readonly (readonly [RegExp, number])[] = [
  [/^POSTHORN_(USAGE|QUEUE_(UNKNOWN|ID)|TRACE_UNKNOWN|CONTROL_PARAMS)$/, exit.usage],
  [/^POSTHORN_(NOT_RUNNING|CONTROL_DENIED|CONTROL_LOST|SEND_UNREACHABLE)$/, exit.unavailable],
  [/^POSTHORN_(CONTROL_BUSY|STORE_(BUSY|OPEN|FULL)|LISTEN_FAILED|PASSWORD_BUSY)$/, exit.busy],
  [
    /^POSTHORN_(CONFIG|PLUGIN|BOOT|SERVICE|ORDER|HOOK|UNLESS|RELOAD|TLS|LISTEN|CONTROL_PATH|DATA|NO_STORAGE|STORE_(NEWER|FOREIGN|ABSENT))/,
    exit.config,
  ],
]

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage
  if (!(error instanceof Error)) return exit.internal
  if (error instanceof PosthornErrors) {
    // A full disk among other trouble: trying later helps nobody whose configuration is wrong.
    const codes = error.errors.map(exitCodeOf)
    if (codes.length > 0 && codes.every(code => code === exit.busy)) return exit.busy
  }
  const { code, name } = error as Error & { code?: unknown }
  if (name === 'StorageError') return exit.busy
  // A low port without the right to it, an address that is not ours: trying later does not help.
  if (code === 'POSTHORN_LISTEN_FAILED' && /EACCES|EADDRNOTAVAIL/.test(causeOf(error))) return exit.config
  if (code === 'EADDRINUSE' || code === 'ENOSPC' || code === 'EDQUOT') return exit.busy
  if (error instanceof PosthornError) return byCode.find(([form]) => form.test(error.code))?.[1] ?? exit.internal
  return exit.internal
}

const causeOf = (error: Error) => String((error.cause as { code?: unknown } | undefined)?.code ?? error.message)

export interface Tell {
  readonly json?: boolean
  readonly verbose?: boolean
}

/** Tells a person, or a program, what went wrong: where, what, and what to do. */
export function tell(error: unknown, io: Io, { json = false, verbose = false }: Tell): void {
  if (error instanceof CommanderError) return
  if (json) {
    io.out(JSON.stringify({ error: plain(error) }))
    return
  }
  const all = error instanceof PosthornErrors ? error.errors : [error]
  if (error instanceof PosthornErrors && all.length > 1) io.err(`posthorn: ${all.length} problems:`)
  for (const one of all) {
    const { message, at, fix } = plain(one)
    io.err(at === undefined ? `posthorn: ${message}` : `${at}: ${message}`)
    if (fix !== undefined) io.err(`  → ${fix}`)
    if (verbose) for (const line of stackOf(one)) io.err(`    ${line}`)
  }
  if (!verbose && all.some(one => !(one instanceof PosthornError)))
    io.err('  → Say --verbose to see where it happened.')
}

interface Plain {
  readonly code: string
  readonly message: string
  readonly at?: string
  readonly fix?: string
  readonly errors?: readonly Plain[]
}

function plain(error: unknown): Plain {
  const { message } = error instanceof Error ? error : new Error(String(error))
  if (!(error instanceof PosthornError)) {
    return { code: String((error as { code?: unknown } | null)?.code ?? 'POSTHORN_INTERNAL'), message }
  }
  return {
    code: error.code,
    message,
    ...(error.at === undefined ? {} : { at: error.at }),
    ...(error.fix === undefined ? {} : { fix: error.fix }),
    ...(error instanceof PosthornErrors ? { errors: error.errors.map(plain) } : {}),
  }
}

function stackOf(error: unknown): string[] {
  const lines: string[] = []
  for (let one = error; one instanceof Error; one = one.cause) {
    if (one !== error) lines.push(`caused by: ${one.message}`)
    lines.push(
      ...(one.stack ?? '')
        .split('\n')
        .slice(1)
        .map(line => line.trim()),
    )
  }
  return lines
}
