// Reads what strace recorded of the server: the calls that change files, those that make them durable, and the 250s on
// their way to clients, each with the moments at which it began and had returned. Moments are line numbers.
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

/** The calls to record. */
const calls = [
  ...['openat', 'write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'ftruncate', 'truncate', 'sendto', 'sendmsg'],
  ...['fsync', 'fdatasync', 'rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat'],
  ...['mkdir', 'mkdirat', 'rmdir'],
]

/** strace and its arguments, to run a server under. Octets are recorded whole. */
export const straceTo = (file: string): string[] => [
  ...['strace', '--seccomp-bpf', '-f', '-q', '-ttt', '-yy', '-s', '100000000', '-o', file],
  ...['-e', `trace=${calls.join(',')}`],
]

/** Why there is nothing to record with, where that is so. */
export async function straceLacks(): Promise<string | undefined> {
  try {
    await promisify(execFile)('strace', ['--seccomp-bpf', '-f', '-q', '-o', '/dev/null', process.execPath, '--version'])
    return undefined
  } catch (error) {
    return `strace does not run here: ${(error as Error).message.split('\n').slice(0, 2).join(' ')}`
  }
}

export interface Call {
  readonly name: string
  /** When it began, and when it had returned: Infinity where the process died first. */
  readonly begin: number
  end: number
  /** Seconds since the epoch, when it began. */
  readonly time: number
  /** The arguments, octets replaced by `""`, paths too where strace prints them as octets. */
  args: string
  /** The octets in them, in order. */
  readonly octets: readonly Buffer[]
  /** The path behind the first descriptor, where there is one. */
  readonly path: string
  /** Negative, or NaN where it never returned: it failed. */
  result: number
}

const lineForm = /^(\d+) +(\d+\.\d+) (.*)$/s
const callForm = /^(\w+)\((.*)$/s
const resumedForm = /^<\.\.\. (\w+) resumed>(.*)$/s
const resultForm = /\) += (-?\d+|\?)[^()]*(?:\([^()]*\))?$/

/** The calls in the order in which they began. `wanted`: by the descriptor or path in the arguments; others are left out. */
export async function readTrace(file: string, wanted: (name: string, args: string) => boolean): Promise<Call[]> {
  const found: Call[] = []
  const open = new Map<string, Call>()
  let at = 0
  for await (const line of createInterface({ input: createReadStream(file, 'latin1'), crlfDelay: Infinity })) {
    const [, pid = '', time = '', text = ''] = lineForm.exec(line) ?? []
    at++
    const resumed = resumedForm.exec(text)
    if (resumed !== null) {
      const call = open.get(pid)
      open.delete(pid)
      if (call !== undefined) finish(call, resumed[2] as string, at)
      continue
    }
    const match = callForm.exec(text)
    if (match === null) continue
    const [, name = '', rest = ''] = match
    if (!wanted(name, rest.slice(0, 600))) continue
    const unfinished = rest.endsWith(' <unfinished ...>')
    const { plain, octets } = split(unfinished ? rest.slice(0, -17) : rest)
    const path = /^\d+<([^>]*)>/.exec(plain)?.[1] ?? ''
    const call: Call = { name, begin: at, end: Infinity, time: Number(time), args: plain, octets, path, result: NaN }
    if (unfinished) open.set(pid, call)
    else finish(call, '', at)
    found.push(call)
  }
  return found
}

function finish(call: Call, rest: string, at: number): void {
  call.args += rest
  const result = resultForm.exec(call.args)?.[1]
  if (result === undefined || result === '?') return
  call.end = at
  call.result = Number(result)
}

const escapes: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, v: 11, f: 12, '"': 34, '\\': 92 }

/** Takes the octets out of arguments. */
function split(args: string): { plain: string; octets: Buffer[] } {
  const octets: Buffer[] = []
  let plain = ''
  let at = 0
  for (;;) {
    const start = args.indexOf('"', at)
    if (start === -1) return { plain: plain + args.slice(at), octets }
    plain += `${args.slice(at, start)}""`
    const { value, end } = unescaped(args, start + 1)
    if (args.startsWith('...', end)) throw new Error('strace cut octets short')
    octets.push(value)
    at = end
  }
}

/** From behind a quotation mark to behind the next. */
function unescaped(text: string, from: number): { value: Buffer; end: number } {
  const bytes: Buffer = Buffer.allocUnsafe(Math.min(text.length - from, quickEnd(text, from) - from))
  let length = 0
  let at = from
  for (;;) {
    const code = text.charCodeAt(at++)
    if (code === 34 || Number.isNaN(code)) return { value: bytes.subarray(0, length), end: at }
    if (code !== 92) {
      bytes[length++] = code
      continue
    }
    const simple = escapes[text[at] as string]
    if (simple !== undefined) {
      bytes[length++] = simple
      at++
      continue
    }
    let octal = 0
    for (let digits = 0; digits < 3; digits++) {
      const digit = text.charCodeAt(at) - 48
      if (!(digit >= 0 && digit < 8)) break
      octal = octal * 8 + digit
      at++
    }
    bytes[length++] = octal
  }
}

/** At least where the octets end. */
function quickEnd(text: string, from: number): number {
  let at = text.indexOf('"', from)
  while (at !== -1 && text[at - 1] === '\\') at = text.indexOf('"', at + 1)
  return at === -1 ? text.length : at
}
