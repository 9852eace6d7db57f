import os,sys,subprocess,random,time,threading,signal,errno,shutil
seed=int(sys.argv[1]); FR=sys.argv[2]; end=time.time()+float(sys.argv[3]); modes=sys.argv[4].split('|'); faket=sys.argv[5] if len(sys.argv)>5 else ''
rnd=random.Random(seed)
B=f'/dev/shm/t/s{seed}'; shutil.rmtree(B,ignore_errors=True); os.makedirs(B+'/m'); os.makedirs(B+'/state')
P='/dev/shm/w/F'
env=dict(os.environ,XDG_STATE_HOME=B+'/state')
subprocess.run([FR,'init','--passfile',P,'--kdf-mem','8','--kdf-ops','1',B+'/v'],env=env,check=True,stdout=subprocess.DEVNULL,timeout=30)
M=B+'/m'
bad=0
def say(*a):
    print(time.strftime('%H:%M:%S'),f'[{seed}]',*a,flush=True)
def mounted(): 
    return any(l.split()[1]==M for l in open('/proc/mounts'))
off=0
def mount(opts):
    global off
    e=dict(env)
    if faket:
        off=rnd.choice([0,0,-5,-60,-3600,-80000,-90000,-200000,-86400*40,3600,30,86400*3]) if faket=='wild' else rnd.choice([0,0,-2,-30,-3600,-40000,20])
        e.update(LD_PRELOAD='/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',FAKETIME=f'{off:+d}s',DONT_FAKE_MONOTONIC='1',FAKETIME_DONT_FAKE_MONOTONIC='1')
    log=open(B+'/log','a'); log.write(f'--- mount {opts} off {off}\n'); log.flush()
    p=subprocess.Popen(['nice','-n','5',FR,'mount','-f','--passfile',P,'-o',opts,B+'/v',M],env=e,stdout=log,stderr=log)
    t=time.time()
    while not mounted():
        if p.poll() is not None: say('FINDING mount failed rc',p.returncode,opts,off); return None
        if time.time()-t>60: say('FINDING mount hangs',p.pid); p.kill(); return None
        time.sleep(0.01)
    return p
def err(e,what,path):
    global bad
    if e.errno in (errno.ENOENT,errno.EEXIST,errno.ENOTEMPTY,errno.ENOTCONN,errno.ECONNABORTED,errno.EISDIR,errno.ENOTDIR,errno.EINVAL,errno.ENODEV): return
    if e.errno==errno.EIO and not alive[0]: return
    if stop[0] or e.errno in (1,None) or e.errno==errno.ELOOP: return
    bad+=1; say('FINDING',what,path,e)
stop=[False]; alive=[True]
def worker(s):
    r=random.Random(s)
    def nm(): return M+'/'+r.choice(['','d0/','d1/','d0/e/'])+r.choice('abcdefgh')
    while not stop[0]:
        op=r.randrange(11); a,b=nm(),nm()
        try:
            if op<=1:
                with open(a,'wb' if r.random()<.6 else 'ab') as f: f.write(os.urandom(r.choice([0,10,5000,20000])))
            elif op==2: os.rename(a,b)
            elif op==3: os.unlink(a)
            elif op==4:
                with open(a,'r+b') as f: f.seek(r.randrange(0,20000)); f.write(b'x'*r.randrange(1,9000))
            elif op==5: os.symlink('to'+str(r.random()),a)
            elif op==6: os.link(a,b)
            elif op==7:
                open(a,'rb').read() if not os.path.islink(a) else os.readlink(a)
            elif op==8: os.truncate(a,r.choice([0,1,4096,9999]))
            elif op==9:
                x=M+'/'+r.choice(['d0','d1','d0/e']); y=M+'/'+r.choice(['d0','d1','d0/e'])
                if r.random()<.1: os.rename(x,y)
                elif r.random()<.1: shutil.rmtree(x)
                else: os.makedirs(x,exist_ok=True)
            elif op==10:
                # move away and back (place taken again)
                os.rename(a,b); 
                if r.random()<.8: os.rename(b,a)
        except shutil.Error: pass
        except OSError as e:
            err(e,'op%d'%op,a)
def walk():
    global bad
    n=0
    for d,ds,fs in os.walk(M,onerror=lambda e: err(e,'walk',e.filename)):
        for f in ds+fs:
            p=d+'/'+f; n+=1
            try:
                if os.path.islink(p): os.readlink(p)
                elif os.path.isfile(p): open(p,'rb').read()
                else: os.stat(p)
            except OSError as e:
                bad+=1; say('FINDING after mount',p,e)
    return n
it=0
while time.time()<end:
    it+=1; o=rnd.choice(modes)
    p=mount(o)
    if not p: bad+=1; break
    stop[0]=False; alive[0]=True
    n=walk()
    if bad: break
    ts=[threading.Thread(target=worker,args=(rnd.random(),),daemon=True) for _ in range(4)]
    for t in ts:t.start()
    time.sleep(rnd.choice([.05,.3,.6,1.2,2])*rnd.random())
    how=rnd.choice(['kill','kill','umount','term'])
    if how=='kill':
        alive[0]=False; os.kill(p.pid,9)
    for _ in range(1):
        stop[0]=True
    for t in ts:t.join(30)
    if any(t.is_alive() for t in ts): say('FINDING worker hangs',how); bad+=1
    if how=='kill':
        p.wait(); subprocess.run(['fusermount3','-u','-z',M],stderr=subprocess.DEVNULL)
    else:
        subprocess.run(['umount',M] if how=='umount' else ['kill','-TERM',str(p.pid)])
        if how=='umount' and mounted(): subprocess.run(['fusermount3','-u','-z',M])
        try: rc=p.wait(30)
        except subprocess.TimeoutExpired: say('FINDING hang at end',how,p.pid); bad+=1; p.kill(); subprocess.run(['fusermount3','-u','-z',M]); break
        if rc not in (0,): say('NOTE exit',rc,how)
    while mounted(): subprocess.run(['fusermount3','-u','-z',M]); 
    if bad: break
    if it%7==0 and not faket and how!='kill':
        c=subprocess.run(['nice','-n','5',FR,'check','--passfile',P,B+'/v'],env=env,capture_output=True,text=True,timeout=60)
        if c.returncode: say('FINDING check',c.returncode,c.stdout[-800:],c.stderr[-400:]); bad+=1;break
say('end iterations',it,'bad',bad,'files',n)
