// Runs one program of a test to its end, bounded in time; what it printed is part of every failure.

import { spawn } from 'node:child_process'

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export interface ProgramOptions {
  readonly input?: string | Uint8Array
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** Milliseconds until it is killed and the test fails. Default 30,000. */
  readonly patience?: number
}

/** Runs a program; resolves with what it printed, whatever its exit code. Rejects when it cannot start or hangs. */
export function run(file: string, args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const { input = '', cwd, env = process.env, patience = 30_000 } = options
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...(cwd === undefined ? {} : { cwd }), env, stdio: ['pipe', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text
    })
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${file} ${args.join(' ')} has not ended in ${patience} ms\n${out}${err}`))
    }, patience)
    child.once('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', code => {
      clearTimeout(timer)
      resolve({ code, out, err })
    })
    // A program that ends without reading its input is judged by what it said.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

/** {@link run}, and rejects where the exit code is not 0. */
export async function succeed(file: string, args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const ended = await run(file, args, options)
  if (ended.code === 0) return ended
  throw new Error(`${file} ${args.join(' ')} ended with ${ended.code}\n${ended.out}${ended.err}`)
}
