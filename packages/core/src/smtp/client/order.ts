// Hosts by preference: the lowest first, and among equals by chance, so that the load is shared (RFC 5321 §5.1).

/**
 * Groups of equal priority, the lowest first; each in an order that chance made, where one of twice the weight is twice
 * as likely to come first (RFC 2782). `random`: [0, 1).
 */
export function byPriority<T extends { readonly priority: number; readonly weight?: number }>(
  items: readonly T[],
  random: () => number = Math.random,
): T[][] {
  const groups = new Map<number, T[]>()
  for (const item of items) {
    const group = groups.get(item.priority)
    if (group === undefined) groups.set(item.priority, [item])
    else group.push(item)
  }
  return [...groups].sort(([a], [b]) => a - b).map(([, group]) => shuffled(group, random))
}

function shuffled<T extends { readonly weight?: number }>(group: T[], random: () => number): T[] {
  if (group.length < 2) return group
  const order: T[] = []
  let left = group
  let total = left.reduce((sum, { weight = 1 }) => sum + weight, 0)
  while (left.length > 0) {
    let at = random() * total
    const found = left.findIndex(({ weight = 1 }) => {
      at -= weight
      return at < 0
    })
    const chosen = left[found === -1 ? left.length - 1 : found] as T
    order.push(chosen)
    left = left.filter(item => item !== chosen)
    total -= chosen.weight ?? 1
  }
  return order
}
