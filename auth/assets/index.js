const who = document.getElementById('who'), out = document.querySelector('button')
const post = (path, body) => fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
const show = async again => {
  const response = await fetch('/api/v1/me')
  if (response.status === 401 && again && (await post('/api/v1/refresh', '{}')).ok) return show(false)
  const me = response.ok ? await response.json() : null
  who.textContent = me ? `You are ${me.username}.` : response.status === 401 ? 'You are not logged in.' : 'The service is busy.'
  out.hidden = !me
}
out.addEventListener('click', async () => {
  const response = await post('/api/v1/logout', '{}').catch(() => null)
  if (response?.ok) return show(false)
  who.textContent = 'You are still logged in: the service cannot be reached. Try again.'
})
show(true).catch(() => { who.textContent = 'The service cannot be reached.' })
