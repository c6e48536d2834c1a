// Reads our Markdown: its fenced blocks, and the mark before each that says what the tests hold it to.
// `<!-- test -->`: a shell command that works as printed, and ends; `<!-- test: config -->`: beside a running server with
// that configuration, after those above it on the page. `<!-- file: path -->`: that file, as it is.

import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './packages.ts'

export interface Document {
  /** From the root. */
  readonly path: string
  readonly text: string
}

export interface Block {
  readonly mark: 'test' | 'file' | undefined
  readonly argument: string
  readonly language: string
  readonly text: string
}

const fence = /(?:<!-- (test|file)(?:: (\S+))? -->\n)?^```(\w*)\n([\s\S]*?)^```$/gm

/** Every document of ours that a person reads; the reference is made from the code. */
export function documents(): readonly Document[] {
  return globSync(['*.md', 'docs/**/*.md', 'bench/*.md', 'packages/*/README.md', 'packages/plugins/*/README.md'], {
    cwd: root,
  })
    .filter(path => !path.startsWith('docs/reference/'))
    .sort()
    .map(path => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

/** The fenced blocks of a document, in order. */
export const blocks = ({ text }: Document): readonly Block[] =>
  Array.from(text.matchAll(fence), ([, mark, argument, language, text]) => ({
    mark: mark as Block['mark'],
    argument: argument ?? '',
    language: language as string,
    text: text as string,
  }))

/** Puts the files that documents show into them: `node test/repo/documents.ts` after a change of an example. */
function refresh(): void {
  for (const { path, text } of documents()) {
    const fresh = text.replace(fence, (whole, mark, argument, language) =>
      mark === 'file'
        ? `<!-- file: ${argument} -->\n\`\`\`${language}\n${readFileSync(join(root, argument), 'utf8')}\`\`\``
        : whole,
    )
    if (fresh !== text) writeFileSync(join(root, path), fresh)
  }
}

if (import.meta.main) refresh()
