import type { Socket } from 'node:net'

/**
 * Reads lines from a socket, at most `limit` octets each, and gives them parsed as JSON. `bad` is told of a line that
 * is too long or no JSON; nothing more is read then.
 */
export function readLines(
  socket: Socket,
  limit: number,
  line: (value: unknown) => void,
  bad: (why: string) => void,
): void {
  let parts: Buffer[] = []
  let held = 0
  let over = false
  const refuse = (why: string) => {
    over = true
    parts = []
    bad(why)
  }
  socket.on('data', (chunk: Buffer) => {
    let from = 0
    while (!over) {
      const at = chunk.indexOf(10, from)
      const end = at === -1 ? chunk.length : at
      if (held + end - from > limit) return refuse(`a line is longer than ${limit} octets`)
      if (at === -1) {
        if (end > from) parts.push(chunk.subarray(from, end))
        held += end - from
        return
      }
      parts.push(chunk.subarray(from, end))
      const text = Buffer.concat(parts).toString('utf8')
      parts = []
      held = 0
      from = at + 1
      let value: unknown
      try {
        value = JSON.parse(text)
      } catch {
        return refuse('a line is not JSON')
      }
      line(value)
    }
  })
}
