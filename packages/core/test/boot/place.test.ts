import { expect, it } from 'vitest'
import { loadConfig } from '../../src/boot/load.ts'
import { inPlace } from '../../src/boot/place.ts'
import { dryPlan } from '../../src/boot/plan.ts'
import { PosthornError, PosthornErrors } from '../../src/errors.ts'
import { complaints, folderOf } from '../config/folder.ts'

it('what is found after the file was read is told with the line where it is written', async () => {
  const folder = folderOf({
    'posthorn.config.yaml': `listeners:
  mx: { listen: 2525 }
tls:
  names:
    mail.example.org:
      cert: nowhere.pem
      key: some.key
plugins: []
`,
    'some.key': '',
  })
  expect(await complaints(folder, dryPlan(await loadConfig({ cwd: folder })))).toEqual([
    "posthorn.config.yaml:8 plugins | no plugin provides a store for the queue | Add 'storage-level' to the list.",
    expect.stringMatching(
      /^posthorn\.config\.yaml:6 tls\.names\["mail\.example\.org"\]\.cert \| cannot read nowhere\.pem/,
    ),
  ])
})

it('an error keeps its code and its cause, and its place where it has one', () => {
  const place = (path: readonly PropertyKey[]) => `file ${path.join(' > ')}`
  const cause = { code: 'EACCES' }
  const told = (at: string) => inPlace(new PosthornError('CODE', 'no', { at, cause, fix: 'do' }), { place })
  expect(told('listeners.mx.inner.listen')).toMatchObject({
    code: 'CODE',
    at: 'file listeners > mx.inner > listen',
    cause,
    fix: 'do',
  })
  expect(told('tls.names.a.example')).toMatchObject({ at: 'file tls > names > a.example' })
  const placed = 'posthorn.config.yaml:3 plugins[1]'
  expect(told(placed)).toMatchObject({ at: placed })
  const others = [new Error('no'), new PosthornErrors('CODE', 'two', [new PosthornError('CODE', 'no')])]
  for (const other of others) expect(inPlace(other, { place })).toBe(other)
})
