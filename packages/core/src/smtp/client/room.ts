// Room to put a small transaction together in: envelope, command and message go out in one write. Nearly always the
// socket takes all of it at once, and the same room serves the next one, of whatever connection.

const most = 32_768
let room = Buffer.allocUnsafeSlow(most)

/** Lent until the next call: fill it and write it before anything else may run, then say how it went to {@link wrote}. */
export function lendRoom(octets: number): Buffer {
  return octets > most ? Buffer.allocUnsafeSlow(octets) : room.subarray(0, octets)
}

/** `data` was given to a socket, which still has to write `left` octets: what was lent may be its own now. */
export function wrote(data: Uint8Array, left: number): void {
  if (left > 0 && data.buffer === room.buffer) room = Buffer.allocUnsafeSlow(most)
}
