// Quoted-printable, encoding only (RFC 2045 §6.7): for the parts of reports that are not 7-bit.

const maxLine = 76

/** Octets with CRLF line ends, encoded; CRLF stays a line end, a bare CR or LF is encoded. */
export function encodeQuotedPrintable(octets: Uint8Array): string {
  let out = ''
  let column = 0
  for (let i = 0; i < octets.length; i++) {
    const octet = octets[i] as number
    if (octet === 13 && octets[i + 1] === 10) {
      out += '\r\n'
      column = 0
      i++
      continue
    }
    const next = octets[i + 1]
    const blank = octet === 32 || octet === 9
    const lastOfLine = next === undefined || (next === 13 && octets[i + 2] === 10)
    const plain = blank ? !lastOfLine : octet > 32 && octet < 127 && octet !== 61
    const piece = plain ? String.fromCharCode(octet) : `=${octet.toString(16).toUpperCase().padStart(2, '0')}`
    if (column + piece.length > maxLine - (lastOfLine ? 0 : 1)) {
      out += '=\r\n'
      column = 0
    }
    out += piece
    column += piece.length
  }
  return out
}
