// Who waits for minutes shall see that something goes on.
import type { Io } from './io.ts'

const tellEvery = 1000

/** Writes a line of progress to standard error, at most once a second and not in the first one; drops the others. */
export function progressOn(io: Io, now: () => number = () => performance.now()): (line: string) => void {
  let told = now()
  return line => {
    if (now() - told < tellEvery) return
    told = now()
    io.err(`… ${line}`)
  }
}
