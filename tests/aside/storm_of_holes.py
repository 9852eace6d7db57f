import os,sys,subprocess,random,time,shutil,ctypes,mmap,multiprocessing as mp,errno,pickle
seed=int(sys.argv[1]); FR=sys.argv[2]; end=time.time()+float(sys.argv[3]); modes=sys.argv[4].split('|'); zero=len(sys.argv)>5
rnd=random.Random(seed); libc=ctypes.CDLL(None,use_errno=True)
libc.fallocate.argtypes=[ctypes.c_int,ctypes.c_int,ctypes.c_long,ctypes.c_long]
B=f'/dev/shm/t/h{seed}'; shutil.rmtree(B,ignore_errors=True); os.makedirs(B+'/m'); os.makedirs(B+'/x')
PL=f'/dev/shm/w/plain{seed}'; shutil.rmtree(PL,ignore_errors=True); os.makedirs(PL)
P='/dev/shm/w/F'; env=dict(os.environ,XDG_STATE_HOME=B+'/state'); os.makedirs(B+'/state')
subprocess.run([FR,'init','--passfile',P,'--kdf-mem','8','--kdf-ops','1',B+'/v'],env=env,check=True,stdout=subprocess.DEVNULL)
M=B+'/m'; NF=4
def say(*a): print(time.strftime('%H:%M:%S'),f'[{seed}]',*a,flush=True)
def mounted(): return any(l.split()[1]==M for l in open('/proc/mounts'))
def mount(opts):
    log=open(B+'/log','a'); log.write(f'--- mount {opts}\n'); log.flush()
    p=subprocess.Popen(['nice','-n','5',FR,'mount','-f','--passfile',P,'-o',opts,B+'/v',M],env=env,stdout=log,stderr=log)
    t=time.time()
    while not mounted():
        if p.poll() is not None or time.time()-t>60: say('FINDING mount failed',p.poll(),opts); sys.exit(1)
        time.sleep(.01)
    return p
MAX=60*4096
def fa(fd,mode,o,l):
    if libc.fallocate(fd,mode,o,l)<0:
        e=ctypes.get_errno(); raise OSError(e,os.strerror(e))
def apply(op,path):
    k=op[0]; fd=os.open(path,os.O_RDWR)
    try:
        if k=='w': os.pwrite(fd,op[2],op[1])
        elif k=='punch': fa(fd,3,op[1],op[2])
        elif k=='zero': fa(fd,0x10|(1 if op[3] else 0),op[1],op[2])
        elif k=='alloc': fa(fd,(1 if op[3] else 0),op[1],op[2])
        elif k=='trunc': os.ftruncate(fd,op[1])
        elif k=='cfr':
            os.copy_file_range(fd,fd,op[2],op[3],op[1])
        elif k=='mmap':
            n=os.fstat(fd).st_size
            if n:
                m=mmap.mmap(fd,n); o=op[1]%n; d=op[2][:n-o]; m[o:o+len(d)]=d; m.flush(); m.close()
        elif k=='sync': os.fsync(fd)
    finally: os.close(fd)
def genop(r):
    k=r.choice(['w','w','w','punch','punch','zero','alloc','trunc','cfr','mmap','sync'])
    al=r.random()<.6
    o=r.randrange(60)*4096 if al else r.randrange(MAX)
    l=r.choice([1,2,3,8,30])*4096 if al else r.randrange(1,30000)
    if k=='w': return ('w',o,(os.urandom(l) if r.random()<.8 else b'\0'*l))
    if k=='mmap': return ('mmap',o,os.urandom(min(l,9000)))
    if k in('zero','alloc'): return (k,o,l,r.random()<.5)
    if k=='trunc': return (k,o)
    if k=='cfr':
        s=r.randrange(60)*4096
        if abs(s-o)<l: l=abs(s-o) or 1; 
        if s==o: return ('sync',)
        return (k,o,l,s)
    return (k,o,l) if k!='sync' else (k,)
def worker(i,s,q,sync):
    r=random.Random(s); path=f'{M}/f{i}'; pl=f'{PL}/f{i}'; hist=[]
    while True:
        op=genop(r)
        # write op to log before
        with open(f'{B}/op{i}.tmp','wb') as f: pickle.dump(op,f)
        os.rename(f'{B}/op{i}.tmp',f'{B}/op{i}')
        try: apply(op,path)
        except OSError as e:
            if e.errno in (errno.ENOTCONN,errno.ECONNABORTED,errno.EIO,errno.ENODEV): os._exit(0)
            say('ODD',op[:2],e); 
            os._exit(0)
        try: apply(op,pl)
        except OSError as e: say('ODD plain',op[0],e)
        hist.append((op[0],)+tuple(len(v) if isinstance(v,bytes) else v for v in op[1:])+(os.path.getsize(pl),)); open(f'{B}/hist{i}','w').write(repr(hist[-8:]))
        os.unlink(f'{B}/op{i}')
        if stopf.value: os._exit(0)
stopf=mp.Value('i',0)
def rd(p):
    with open(p,'rb') as f: return f.read()
it=0;bad=0
while time.time()<end and not bad:
    it+=1; o=rnd.choice(modes)
    p=mount(o)
    for i in range(NF):
        a,b=f'{M}/f{i}',f'{PL}/f{i}'
        if not os.path.exists(a): open(a,'x').close(); open(b,'w').close()
    # compare
    for i in range(NF):
        a,b=f'{M}/f{i}',f'{PL}/f{i}'
        try: x=rd(a)
        except OSError as e: say('FINDING read',a,e,'it',it,o,how); bad+=1; continue
        y=rd(b)
        if x!=y:
            after=None
            if os.path.exists(f'{B}/op{i}'):
                op=pickle.load(open(f'{B}/op{i}','rb')); shutil.copyfile(b,PL+'/try'); 
                try: apply(op,PL+'/try')
                except OSError as e: say('odd',e)
                after=rd(PL+'/try')
            def at(s,j): return s[j] if s is not None and j<len(s) else None
            ok=after is not None and all(x[j] in (at(y,j),at(after,j)) or (x[j]==0) and (at(y,j) is None or at(after,j) is None or op[0]=='zero' or op[0]=='punch') for j in range(len(x)))
            if after is None or not min(len(y),len(after))<=len(x)<=max(len(y),len(after)) or not ok:
                d=[j//4096 for j in range(min(len(x),len(y))) if x[j]!=y[j]]
                say('FINDING differs',a,'it',it,'prev',how,po,'size',len(x),len(y),after and len(after),'chunks',sorted(set(d))[:20],'op',op[:2] if after is not None else None, [len(v) if isinstance(v,bytes) else v for v in op[1:]] if after is not None else None); bad+=1; say('HIST',open(f'{B}/hist{i}').read()); say('lost tail zero?', not any(y[len(x):]), 'first diff', next((j for j in range(min(len(x),len(y))) if x[j]!=y[j]),None)); shutil.copyfile(b,b+'.was')
            with open(b,'r+b') as f: f.truncate(0); f.write(x)
        if os.path.exists(f'{B}/op{i}'): os.unlink(f'{B}/op{i}')
    if bad: break
    stopf.value=0
    ps=[mp.Process(target=worker,args=(i,rnd.random(),None,0)) for i in range(NF)]
    for q in ps:q.start()
    time.sleep(rnd.random()*1.2)
    how=rnd.choice(['kill','clean']); po=o
    if how=='kill': p.kill(); p.wait()
    else: stopf.value=1
    for q in ps:
        q.join(20)
        if q.is_alive(): say('FINDING hang',how,o); bad+=1; q.kill()
    if how=='clean':
        subprocess.run(['umount',M])
        try: p.wait(30)
        except: say('FINDING umount hang'); bad+=1
    while mounted(): subprocess.run(['fusermount3','-u','-z',M])
    if it%5==0 and how=='clean':
        c=subprocess.run([FR,'check','--passfile',P,B+'/v'],env=env,capture_output=True,text=True,timeout=60)
        r=subprocess.run(['python3','/dev/shm/src/contrib/recover.py','--passfile',P,'verify',B+'/v'],capture_output=True,text=True,timeout=60)
        if c.returncode or (r.returncode and 'nacl' not in r.stderr): say('FINDING check',c.returncode,r.returncode,c.stdout[-600:],c.stderr,r.stdout[-600:],r.stderr[-600:]); bad+=1
say('end it',it,'bad',bad)
