// `npm run docs`: writes docs/reference.

import { mkdirSync, writeFileSync } from 'node:fs'
import { pages } from './pages.ts'

const folder = new URL('../reference/', import.meta.url)
mkdirSync(folder, { recursive: true })
for (const [name, text] of Object.entries(await pages())) {
  writeFileSync(new URL(name, folder), text)
  console.log(`docs/reference/${name}`)
}
