// As much of DER (X.690) as a certificate needs to be written.

const tagged = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts)
  const size: number[] = []
  for (let n = content.length; n > 0; n >>>= 8) size.unshift(n & 255)
  // Lengths up to 127 are one octet; longer ones are preceded by the count of theirs.
  const length = content.length < 128 ? [content.length] : [0x80 | size.length, ...size]
  return Buffer.concat([Uint8Array.of(tag, ...length), content])
}

export const sequence = (...parts: Uint8Array[]) => tagged(0x30, ...parts)
export const set = (...parts: Uint8Array[]) => tagged(0x31, ...parts)
export const octetString = (content: Uint8Array) => tagged(0x04, content)
export const utf8String = (text: string) => tagged(0x0c, Buffer.from(text))
export const boolean = (value: boolean) => tagged(0x01, Uint8Array.of(value ? 0xff : 0))
/** `[n]` in place of the type's own tag; `constructed` where it holds others. */
export const context = (n: number, constructed: boolean, ...parts: Uint8Array[]) =>
  tagged(0x80 | (constructed ? 0x20 : 0) | n, ...parts)

/** A positive integer of big-endian octets. */
export function integer(octets: Uint8Array): Buffer {
  let start = 0
  while (start < octets.length - 1 && octets[start] === 0) start++
  const short = octets.subarray(start)
  // A first bit of 1 would make it negative.
  return tagged(0x02, ((short[0] ?? 0) & 0x80) === 0 ? short : Buffer.concat([Uint8Array.of(0), short]))
}

/** `unused`: bits at the end that do not count. */
export const bitString = (content: Uint8Array, unused = 0) => tagged(0x03, Uint8Array.of(unused), content)

/** `1.2.840.10045.4.3.2` */
export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const octets = [first * 40 + second]
  for (const arc of rest) {
    const base128 = [arc & 127]
    for (let n = arc >>> 7; n > 0; n >>>= 7) base128.unshift((n & 127) | 128)
    octets.push(...base128)
  }
  return tagged(0x06, Uint8Array.from(octets))
}

/** RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050. */
export function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '')
  return Number(digits.slice(0, 4)) < 2050
    ? tagged(0x17, Buffer.from(digits.slice(2)))
    : tagged(0x18, Buffer.from(digits))
}
