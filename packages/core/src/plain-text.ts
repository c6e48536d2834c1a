/** One line, no control characters, at most 500 characters: a peer's words may be hostile. */
export function plainText(text: string): string {
  return text
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, 500)
}
