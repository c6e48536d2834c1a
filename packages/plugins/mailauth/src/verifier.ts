// The library's verifier of DKIM and ARC message signatures, stricter and faster where it has to be, and with selectors as
// people write them.
import { DkimVerifier, type SignatureHeader, type SignatureResult } from 'mailauth/lib/dkim/dkim-verifier.js'

/** RFC 6376 §2.10, its white space taken out. What is none, node:buffer decodes as far as it likes. */
export const isBase64 = (value: unknown): boolean => typeof value === 'string' && /^[A-Za-z0-9+/]+={0,2}$/.test(value)

/** RFC 6376 §3.5: one word, or two with a slash between. */
const canonicalization = /^[a-z]+(?:\/[a-z]+)?$/i

export class Verifier extends DkimVerifier {
  override prepareSignature(signature: SignatureHeader): void {
    this.#prepare(signature)
    if (signature.skip !== undefined || signature.invalid !== undefined) return
    const { b, bh, c } = signature.parsed ?? {}
    const good =
      isBase64(b?.value) &&
      isBase64(bh?.value) &&
      (c === undefined || (typeof c.value === 'string' && canonicalization.test(c.value)))
    if (!good) signature.invalid = 'signature syntax error'
  }

  /** RFC 6376 §3.1 has no underscore in selectors, but senders have, and no verifier refuses them. */
  #prepare(signature: SignatureHeader): void {
    const selector = signature.parsed?.s
    const written = selector?.value
    if (selector === undefined || typeof written !== 'string' || !written.includes('_')) {
      super.prepareSignature(signature)
      return
    }
    selector.value = written.replaceAll('_', 'x')
    super.prepareSignature(signature)
    selector.value = written
    signature.selector = written
  }

  override async verifySignature(signature: SignatureHeader, fallback?: boolean): Promise<SignatureResult> {
    const found = await this.#verify(signature, fallback)
    const { status, canonBodyLengthLimit: limit, canonBodyLengthTotal: total } = found
    // RFC 6376 §3.5: l= must not be more than there is. What is missing was cut off on the way.
    if (status.result === 'pass' && limit !== undefined && limit > (total ?? 0)) {
      status.result = 'neutral'
      status.comment = 'body shorter than signed'
    }
    return found
  }

  /** The library looks through the whole header for each name of h=; most names there and here are not each other's. */
  #verify(signature: SignatureHeader, fallback: boolean | undefined): Promise<SignatureResult> {
    const whole = this.headers
    const names = signature.parsed?.h?.value
    if (typeof names !== 'string') return super.verifySignature(signature, fallback)
    const named = new Set(names.toLowerCase().split(':'))
    this.headers = { ...whole, parsed: whole.parsed.filter(({ key }) => named.has(key)) }
    // It reads them before it waits for the key.
    const result = super.verifySignature(signature, fallback)
    this.headers = whole
    return result
  }
}
