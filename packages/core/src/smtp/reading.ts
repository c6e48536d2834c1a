// Reads of all plain sockets go into one piece of memory, lent to whoever takes them. Left to itself Node allocates 64 KiB
// for each read, also of a command of ten octets, and gives it back when the garbage is collected.
import { type OnReadOpts, Socket } from 'node:net'

/** As much as libuv reads at once. */
const room = Buffer.allocUnsafeSlow(65_536)

/** Takes octets that are lent until it returns; false: read no more before `socket.resume()`. */
export type Take = (chunk: Buffer) => boolean

// Windows fills a buffer while other sockets read; everybody else asks for it when the octets are there.
const shareable = process.platform !== 'win32'

/** For `net.connect`: what the socket reads goes to `take` and there is no event `data`. */
export function lendingReads(take: Take): OnReadOpts {
  return {
    buffer: shareable ? room : Buffer.allocUnsafeSlow(16_384),
    callback: (octets, buffer) => take((buffer as Buffer).subarray(0, octets)),
  }
}

// net.Server has no such option, so an accepted socket is given what `net.connect` would have given it.
const [bufferKey, callbackKey] = ['kBuffer', 'kBufferCb'].map(name =>
  Object.getOwnPropertySymbols(new Socket()).find(({ description }) => description === name),
)

interface Internals {
  [key: symbol]: unknown
  readonly _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null
}

/** The same for a socket that was accepted. False, and nothing changed, where this Node does not let us. */
export function lendReads(socket: Socket, take: Take): boolean {
  const inner = socket as unknown as Internals
  const { _handle: handle } = inner
  if (bufferKey === undefined || callbackKey === undefined || socket.readableLength > 0) return false
  if (typeof handle?.useUserBuffer !== 'function' || !(bufferKey in inner)) return false
  const { buffer, callback } = lendingReads(take)
  inner[bufferKey] = buffer
  inner[callbackKey] = callback
  handle.useUserBuffer(buffer as Uint8Array)
  return true
}
