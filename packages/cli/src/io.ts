/** What a command may touch of its process, so that tests can stand in for it. */
export interface Io {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Somebody sits at a terminal and can answer. */
  readonly interactive: boolean
  /** A line on standard output. */
  out(line: string): void
  /** A line on standard error. */
  err(line: string): void
  /** All of standard input. */
  input(): Promise<Buffer>
}

export function processIo(): Io {
  // A reader that has had enough (`posthorn queue list | head`) is no fault.
  process.stdout.on('error', error => {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit()
    throw error
  })
  return {
    cwd: process.cwd(),
    env: process.env,
    interactive: process.stdin.isTTY === true && process.stdout.isTTY === true,
    out: line => void process.stdout.write(`${line}\n`),
    err: line => void process.stderr.write(`${line}\n`),
    async input() {
      const chunks: Buffer[] = []
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    },
  }
}
