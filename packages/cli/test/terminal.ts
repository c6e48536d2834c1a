// Runs command lines against a terminal that only remembers.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ControlMethod, ControlServer } from '@posthorn/core/runtime'
import { onTestFinished } from 'vitest'
import type { Io } from '../src/io.ts'
import { run } from '../src/program.ts'

/** A new folder, removed with the test. */
export function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export interface Said {
  readonly code: number
  readonly out: readonly string[]
  readonly err: readonly string[]
}

export function terminal(
  cwd: string,
  extra: Partial<Io> = {},
): Io & { readonly lines: { out: string[]; err: string[] } } {
  const lines = { out: [] as string[], err: [] as string[] }
  return {
    cwd,
    env: {},
    interactive: false,
    out: line => void lines.out.push(...line.split('\n')),
    err: line => void lines.err.push(...line.split('\n')),
    input: async () => Buffer.alloc(0),
    lines,
    ...extra,
  }
}

/** Runs `posthorn <args>` in a folder. */
export async function posthorn(cwd: string, args: string, extra: Partial<Io> = {}): Promise<Said> {
  const io = terminal(cwd, extra)
  const code = await run(args.split(' ').filter(Boolean), io)
  return { code, ...io.lines }
}

/** A server that answers at the control socket of a demo in `cwd`. */
export async function answering(cwd: string, methods: Record<string, ControlMethod>): Promise<void> {
  const server = new ControlServer(methods)
  await server.listen(join(cwd, '.posthorn/control.sock'))
  onTestFinished(() => server.close())
}
